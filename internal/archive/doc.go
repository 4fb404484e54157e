// Package archive is the format of a backup: a tar archive with the files of a data
// directory and, behind them, a manifest, without which it is not whole.
//
//	__cluster_metadata-0/00000000000000000000.log
//	orders-0/partition.metadata
//	orders-0/00000000000000000000.log
//	orders-0/00000000000000008312.log     a log in pieces of some MiB
//	runnel.backup                         the manifest (docs/format.md)
//
// A Writer makes one; through a socket the files go as a sequence (Send) that a
// Receiver turns into an archive where it is wanted.
package archive

import "hash/crc32"

const (
	// ManifestName is the last file of a backup: which logs it holds, from where to
	// where, with their checksums.
	ManifestName = "runnel.backup"

	// Version is that of the format.
	Version = 1
)

// Castagnoli is the table of the checksums in the manifest.
var Castagnoli = crc32.MakeTable(crc32.Castagnoli)
