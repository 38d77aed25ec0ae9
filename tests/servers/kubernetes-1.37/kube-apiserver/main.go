// Command kube-apiserver is the unmodified Kubernetes API server, built from its published Go module. A test may have it
// compare its caches with etcd more often than every five minutes, for which it has no flag.
package main

import (
	"log"
	"os"
	"time"
	_ "time/tzdata" // the real binary carries the time zones for CronJobs

	"k8s.io/apiserver/pkg/storage/cacher/consistency"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() {
	if period := os.Getenv("ETCD_PRISM_CONSISTENCY_CHECK_PERIOD"); period != "" {
		parsed, err := time.ParseDuration(period)
		if err != nil {
			log.Fatal(err)
		}
		consistency.CheckPeriod = parsed
	}
	os.Exit(cli.Run(app.NewAPIServerCommand()))
}
