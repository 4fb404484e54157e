// Command runnel works with topics, records and groups from a shell.
package main

func main() {}
