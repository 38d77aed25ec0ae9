// Command etcdctl is the etcd command-line client, built from its published Go module.
package main

import "go.etcd.io/etcd/etcdctl/v3/ctlv3"

func main() { ctlv3.MustStart() }
