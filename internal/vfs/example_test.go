package vfs_test

import (
	"fmt"
	"os"

	"github.com/runnel-go/runnel/internal/vfs"
)

func ExampleNewMemory() {
	fsys := vfs.NewMemory()
	if err := fsys.MkdirAll("orders-0"); err != nil {
		fmt.Println(err)
	}
	f, err := fsys.OpenFile("orders-0/a.log", os.O_RDWR|os.O_CREATE)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer f.Close()
	_, err = f.WriteAt([]byte("hello"), 0)
	fmt.Println(err, f.Sync(), fsys.SyncDir("orders-0"))

	entries, err := fsys.ReadDir("orders-0")
	fmt.Println(entries, err)
	// Output:
	// <nil> <nil> <nil>
	// [{a.log 5 false}] <nil>
}

func ExampleWriteFile() {
	fsys := vfs.NewMemory()
	fmt.Println(vfs.WriteFile(fsys, "meta", []byte("version: 0\n")))
	b, err := vfs.ReadFile(fsys, "meta", 1024)
	fmt.Printf("%q %v\n", b, err)
	// Output:
	// <nil>
	// "version: 0\n" <nil>
}
