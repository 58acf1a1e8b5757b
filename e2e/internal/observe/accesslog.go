package observe

// AccessLog is a file to which a component writes what it passes on.
type AccessLog struct {
	Component string // the program's name, as lanes have it
	Node      Node   // where File is; its IP is the address that the component connects from
	File      string
}
