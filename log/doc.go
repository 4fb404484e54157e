// Package log keeps one partition's records in files.
package log
