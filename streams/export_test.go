package streams

// PurgeRecords is how many committed records a partition of a repartition topic
// may have before they are deleted.
func PurgeRecords(n int64) Option { return option(func(c *config) { c.purgeRecords = n }) }
