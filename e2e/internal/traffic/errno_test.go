package traffic

import "syscall"

// errno keeps the table of errors readable.
func errno(name string) error {
	return map[string]error{
		"EADDRNOTAVAIL": syscall.EADDRNOTAVAIL, "EMFILE": syscall.EMFILE, "EHOSTUNREACH": syscall.EHOSTUNREACH, "EPIPE": syscall.EPIPE,
	}[name]
}
