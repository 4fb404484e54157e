package hub

// Role is held by one goroutine at a time, also while it waits for the network.
type Role chan struct{}

// NewRole returns a role that is free.
func NewRole() Role { return make(Role, 1) }

// Take waits for the role.
func (r Role) Take() { r <- struct{}{} }

// Give gives it back.
func (r Role) Give() { <-r }
