// Package attach.
package attach
