package main

// openFiles: Windows sets no limit that a process could meet.
func openFiles() int { return 0 }
