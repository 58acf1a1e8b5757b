// Command hello prints what a patch added to a module.
package main

import (
	"fmt"

	"golang.org/x/sync/errgroup"
)

var version = "unset"

func main() { fmt.Println(version, errgroup.Patched()) }
