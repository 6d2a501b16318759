// Package k8s judges the manifests of deploy/k8s as Kubernetes does: what kustomize makes of them is decoded strictly into
// the real types, held against the Pod Security Standards, and compared with the blobd that it starts. It is a module of
// its own, since Kubernetes' libraries are large.
//
// What was judged lies in rendered/, one file for each kustomization, for who reads it and for the tests in containers.
// `make k8s-rendered` writes it anew.
package k8s
