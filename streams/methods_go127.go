//go:build go1.27

package streams

// Since Go 1.27 a method may have type parameters of its own. Here every function
// that changes a type is a method too, so that a topology reads as one chain. Each
// method calls its function and does nothing else: there is one implementation,
// and older versions of Go, which leave this file out, have all of it.

// Map returns the stream of the results of f for each record. It is the
// function [Map] as a method.
func (s *KStream[K, V]) Map[K2, V2 any](f func(key K, value V) (K2, V2)) *KStream[K2, V2] {
	return Map(s, f)
}

// MapValues returns the stream with each value replaced by f's result. It is
// the function [MapValues] as a method.
func (s *KStream[K, V]) MapValues[V2 any](f func(value V) V2, options ...ValueOption[V2]) *KStream[K, V2] {
	return MapValues(s, f, options...)
}

// FlatMap returns the stream of the records that f returns for each record. It
// is the function [FlatMap] as a method.
func (s *KStream[K, V]) FlatMap[K2, V2 any](f func(key K, value V) []KeyValue[K2, V2]) *KStream[K2, V2] {
	return FlatMap(s, f)
}

// FlatMapValues returns the stream of the values that f returns for each value.
// It is the function [FlatMapValues] as a method.
func (s *KStream[K, V]) FlatMapValues[V2 any](f func(value V) []V2, options ...ValueOption[V2]) *KStream[K, V2] {
	return FlatMapValues(s, f, options...)
}

// Process sends each record through a processor of the program. It is the function
// [Process] as a method.
func (s *KStream[K, V]) Process[K2, V2 any](start func(c *ProcessorContext[K2, V2]) (Processor[K, V], error), stores ...ProcessOption) *KStream[K2, V2] {
	return Process(s, start, stores...)
}

// ProcessValues is Process for a processor that keeps the keys. It is the function
// [ProcessValues] as a method.
func (s *KStream[K, V]) ProcessValues[V2 any](start func(c *ValueContext[V2]) (Processor[K, V], error), stores ...ProcessOption) *KStream[K, V2] {
	return ProcessValues(s, start, stores...)
}

// SelectKey returns the stream with the keys that f returns. It is the function
// [SelectKey] as a method.
func (s *KStream[K, V]) SelectKey[K2 any](f func(key K, value V) K2, options ...KeyOption[K2]) *KStream[K2, V] {
	return SelectKey(s, f, options...)
}

// GroupBy groups the records by the keys that f returns. It is the function
// [GroupBy] as a method.
func (s *KStream[K, V]) GroupBy[K2 any](f func(key K, value V) K2, options ...KeyOption[K2]) *KGroupedStream[K2, V] {
	return GroupBy(s, f, options...)
}

// Count counts the records of each key in a store of that name. It is the
// function [Count] as a method.
func (g *KGroupedStream[K, V]) Count(store string) *KTable[K, int64] {
	return Count(g, store)
}

// Reduce combines the values of each key in a store of that name. It is the
// function [Reduce] as a method.
func (g *KGroupedStream[K, V]) Reduce(store string, f func(result, value V) V) *KTable[K, V] {
	return Reduce(g, store, f)
}

// Aggregate combines the values of each key in a store of that name into a
// value of another type. It is the function [Aggregate] as a method.
func (g *KGroupedStream[K, V]) Aggregate[A any](store string, initial func() A, add func(key K, value V, aggregate A) A, options ...ValueOption[A]) *KTable[K, A] {
	return Aggregate(g, store, initial, add, options...)
}

// MapValues returns the table with the value of each row replaced by f's
// result. It is the function [MapTable] as a method.
func (t *KTable[K, V]) MapValues[V2 any](f func(value V) V2, options ...ValueOption[V2]) *KTable[K, V2] {
	return MapTable(t, f, options...)
}

// GroupBy groups the table's rows by the keys that f returns for them. It is the
// function [GroupTable] as a method.
func (t *KTable[K, V]) GroupBy[K2, V2 any](f func(key K, value V) (K2, V2)) *KGroupedTable[K2, V2] {
	return GroupTable(t, f)
}

// Aggregate combines the values of each group in a store of that name into a
// value of another type. It is the function [AggregateTable] as a method.
func (g *KGroupedTable[K, V]) Aggregate[A any](store string, initial func() A, add, subtract func(key K, value V, aggregate A) A, options ...ValueOption[A]) *KTable[K, A] {
	return AggregateTable(g, store, initial, add, subtract, options...)
}

// JoinTable joins each record with the row that the table has for its key at
// that moment. It is the function [JoinTable] as a method.
func (s *KStream[K, V]) JoinTable[T, R any](table *KTable[K, T], join func(key K, value V, row T) R, options ...ValueOption[R]) *KStream[K, R] {
	return JoinTable(s, table, join, options...)
}

// LeftJoinTable is JoinTable that keeps records without a row. It is the
// function [LeftJoinTable] as a method.
func (s *KStream[K, V]) LeftJoinTable[T, R any](table *KTable[K, T], join func(key K, value V, row *T) R, options ...ValueOption[R]) *KStream[K, R] {
	return LeftJoinTable(s, table, join, options...)
}

// Join joins two tables by their keys. It is the function [JoinTables] as a
// method.
func (left *KTable[K, V]) Join[V2, R any](right *KTable[K, V2], join func(key K, left V, right V2) R, options ...ValueOption[R]) *KTable[K, R] {
	return JoinTables(left, right, join, options...)
}

// LeftJoin is Join with a row for every row of the left table. It is the
// function [LeftJoinTables] as a method.
func (left *KTable[K, V]) LeftJoin[V2, R any](right *KTable[K, V2], join func(key K, left V, right *V2) R, options ...ValueOption[R]) *KTable[K, R] {
	return LeftJoinTables(left, right, join, options...)
}

// OuterJoin is Join with a row for every row of either table. It is the function
// [OuterJoinTables] as a method.
func (left *KTable[K, V]) OuterJoin[V2, R any](right *KTable[K, V2], join func(key K, left *V, right *V2) R, options ...ValueOption[R]) *KTable[K, R] {
	return OuterJoinTables(left, right, join, options...)
}

// JoinBy joins each row with the row of another table that it refers to. It
// is the function [JoinTablesBy] as a method.
func (left *KTable[K, V]) JoinBy[K2, V2, R any](right *KTable[K2, V2], reference func(key K, value V) (K2, bool), join func(key K, left V, right V2) R, options ...ValueOption[R]) *KTable[K, R] {
	return JoinTablesBy(left, right, reference, join, options...)
}

// LeftJoinBy is JoinBy with a result for every row of the left table.
// It is the function [LeftJoinTablesBy] as a method.
func (left *KTable[K, V]) LeftJoinBy[K2, V2, R any](right *KTable[K2, V2], reference func(key K, value V) (K2, bool), join func(key K, left V, right *V2) R, options ...ValueOption[R]) *KTable[K, R] {
	return LeftJoinTablesBy(left, right, reference, join, options...)
}

// JoinGlobal joins each record with the row of a global table that it refers to.
// It is the function [JoinGlobal] as a method.
func (s *KStream[K, V]) JoinGlobal[GK, GV, R any](table *GlobalKTable[GK, GV], reference func(key K, value V) (GK, bool), join func(key K, value V, row GV) R, options ...ValueOption[R]) *KStream[K, R] {
	return JoinGlobal(s, table, reference, join, options...)
}

// LeftJoinGlobal is JoinGlobal that keeps records without a row. It is the
// function [LeftJoinGlobal] as a method.
func (s *KStream[K, V]) LeftJoinGlobal[GK, GV, R any](table *GlobalKTable[GK, GV], reference func(key K, value V) (GK, bool), join func(key K, value V, row *GV) R, options ...ValueOption[R]) *KStream[K, R] {
	return LeftJoinGlobal(s, table, reference, join, options...)
}

// Count counts the records of each key in each window. It is the function [Count] as a
// method.
func (g *TimeWindowedKStream[K, V]) Count(store string) *WindowedTable[K, int64] {
	return &WindowedTable[K, int64]{counted(&g.group, store)}
}

// Reduce combines the values of each key in each window. It is the function [Reduce] as
// a method.
func (g *TimeWindowedKStream[K, V]) Reduce(store string, f func(result, value V) V) *WindowedTable[K, V] {
	return &WindowedTable[K, V]{reduced(&g.group, store, f)}
}

// Aggregate combines the values of each key in each window into a value of another
// type. It is the function [Aggregate] as a method.
func (g *TimeWindowedKStream[K, V]) Aggregate[A any](store string, initial func() A, add func(key Windowed[K], value V, aggregate A) A, options ...ValueOption[A]) *WindowedTable[K, A] {
	return &WindowedTable[K, A]{aggregated(&g.group, store, initial, add, options)}
}

// Map returns the stream of the results of f for each record. It is the function [Map]
// as a method.
func (s *WindowedKStream[K, V]) Map[K2, V2 any](f func(key Windowed[K], value V) (K2, V2)) *KStream[K2, V2] {
	return mapRecords(s.topology, s.out, f)
}

// SelectKey returns the stream with the keys that f returns. It is the function
// [SelectKey] as a method.
func (s *WindowedKStream[K, V]) SelectKey[K2 any](f func(key Windowed[K], value V) K2, options ...KeyOption[K2]) *KStream[K2, V] {
	return selectKey(s.topology, s.out, s.value, f, options)
}
