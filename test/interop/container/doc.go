// Package container builds blobd's image and runs it in real containers, as the manifests of deploy/k8s say: with
// namespaces and cgroups of their own, a root that is read-only, and nobody's rights. podman plays the container runtime,
// the tests the kubelet and the application.
//
// The tests need Linux, root, and the Debian packages podman, runc and busybox-static. No image is pulled.
package container
