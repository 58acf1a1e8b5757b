package timeline

import "time"

// Held is one connection that a client of a lane held: the client's side of that ledger.
type Held struct {
	Client int           `json:"client"` // its number in the lane, from 0
	Number int           `json:"number"` // which of the client's attempts to connect made it, from 1
	Opened time.Duration `json:"opened"` // when the handshake was answered
	Ended  time.Duration `json:"ended"`  // when the client knew that it had ended
	End    HeldEnd       `json:"end"`
	Detail string        `json:"detail"` // of the end: reset, close frame 1001 …
	// Pod is the one that answered the handshake, by its own word, and Conn the connection's number in its
	// process; both are empty if the answer doesn't say.
	Pod  string `json:"pod,omitempty"`
	Conn uint32 `json:"conn,omitempty"`
	Port uint16 `json:"port,omitempty"` // local
	// Sent are the messages that were given to the connection, and Answered those that came back; of
	// these, Wrong had another text. Where the server sends by itself, Sent are those that fell due.
	Sent     int `json:"sent"`
	Answered int `json:"answered"`
	Wrong    int `json:"wrong,omitempty"`
	Last     int `json:"last"` // highest number in the lane of those answered; -1 for none
	// Back is a length: from Ended until the client, or a new one in its place, had its next connection;
	// 0 if there was none before the load ended.
	Back time.Duration `json:"back,omitempty"`
	// Tried are the attempts in between that failed, and Failed is the cause of the last of them.
	Tried  int    `json:"tried,omitempty"`
	Failed string `json:"failed,omitempty"`
}

// HeldEnd says who ended a held connection, as its client knows.
type HeldEnd string

// The ends of a held connection.
const (
	HeldLeft      HeldEnd = "left"      // the client, by a close of its own, which the server has confirmed
	HeldAnnounced HeldEnd = "announced" // the server, by its word: a close frame, the end of the stream, GOAWAY
	HeldCut       HeldEnd = "cut"       // nobody says: a reset, or FIN without a word
	HeldSilent    HeldEnd = "silent"    // the client, because a message was not answered in time
	// the client was leaving, and the server didn't confirm it: it may have ended by itself
	HeldUnknown HeldEnd = "unknown"
)

// HeldByPod is one connection that a client held, as the Pod tells when it has ended: the server's side
// of that ledger. A Pod that is killed tells nothing of those that it had.
type HeldByPod struct {
	Pod    string        `json:"pod"`
	UID    string        `json:"uid,omitempty"` // empty for the last Pod of the name
	Lane   string        `json:"lane"`
	Client int           `json:"client"`
	Number int           `json:"number"`
	Opened time.Duration `json:"opened"`
	Ended  time.Duration `json:"ended"`
	By     HeldBy        `json:"by"`
	Fault  string        `json:"fault,omitempty"` // what was done to it on purpose
	// Received are the client's messages, Echoed those that were sent to it, and Last the number of the
	// last of these; -1 for none.
	Received int `json:"received"`
	Echoed   int `json:"echoed"`
	Last     int `json:"last"`
}

// HeldBy says who ended a held connection, as the Pod knows.
type HeldBy string

// Who ends held connections, in the app's own words.
const (
	HeldByClient   HeldBy = "client"    // the client, by a close of its own
	HeldByNobody   HeldBy = "gone"      // without a word: the client, or whoever is between
	HeldByApp      HeldBy = "announced" // the app, by its word
	HeldByBoth     HeldBy = "both"      // the app, while the client's own close was on its way
	HeldByAppCut   HeldBy = "cut"       // the app, without a word
	HeldByAppsExit HeldBy = "exit"      // the end of the app's process, or of its patience
)

// Pods says that the Pod has ended the connection, whoever else may have.
func (b HeldBy) Pods() bool {
	return b == HeldByApp || b == HeldByBoth || b == HeldByAppCut || b == HeldByAppsExit
}
