// Package ext is the place of Traefik's own module of that name, which is no published one: the
// extension points of its dynamic configuration, without an extension.
package ext

// HTTP extends the HTTP configuration.
type HTTP struct{}

// Router extends a router.
type Router struct{}
