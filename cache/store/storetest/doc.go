// Package storetest is the conformance suite of package store, and what its tests and those of its users need: a file
// system that counts its calls and fails the one that a test picks, an observer that remembers, and du.
package storetest
