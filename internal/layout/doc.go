// Package layout defines a data directory: the names in it, the lock of the process
// that holds it, which directory belongs to which partition, and the marks that show
// how it was left.
//
//	.lock                            the process that has the directory open (Lock)
//	.kafka_cleanshutdown             the last broker closed it (CleanFile)
//	.runnel_reserve                  space for deleting on a full disk (Reserve)
//	.runnel_restoring                part of a backup; refused (RestoringFile)
//	log-start-offset-checkpoint      starts set by DeleteRecords, for Kafka's tools (UpdateStarts)
//	__cluster_metadata-0/            the catalogue's log and snapshots (Catalogue)
//	orders-3/partition.metadata      whose directory that is (Owner)
//	orders-3/...                     the partition's log, of package log
//	orders-3.UUID-delete/            of a deleted topic, on its way out (SetAside)
//	orders-3.UUID-stray/             in the way of a new partition, and kept
//
// Names and files are Kafka's where Kafka has them. All functions work on a vfs.FS,
// except those of Lock and OfKafka, which need a directory on a disk. The package
// knows no open log, topic or broker.
package layout
