// Command groups is the load of tests/clients/member_churn.py: many members of many consumer groups, each of which writes
// down what it is given, what it does and what it is told, so that churn_checker.py can say afterwards whether all of it
// fits together.
//
//	groups members   -server HOST:PORT -topic T -log DIR -name PROCESS    takes commands from stdin, one a line:
//	                     join MEMBER GROUP ASSIGNOR [static] | leave MEMBER | (end of file: all leave)
//	groups produce   -server HOST:PORT -topic T -log DIR -rate N          numbered records until stdin ends
//	groups offsets   -server HOST:PORT -topic T -groups G1,G2             prints GROUP PARTITION COMMITTED END
//	groups heartbeat -server HOST:PORT -topic T -members N -groups N      stable groups that only heartbeat, until stdin ends
package main

import (
	"flag"
	"fmt"
	"os"
)

var (
	server    = flag.String("server", "127.0.0.1:9092", "where the node listens")
	topic     = flag.String("topic", "churn", "the topic that all groups read")
	logs      = flag.String("log", ".", "the directory of the event logs")
	name      = flag.String("name", "p0", "the name of this process")
	rate      = flag.Int("rate", 100, "records a second")
	groups    = flag.String("groups", "", "groups, by name; for heartbeat: how many")
	members   = flag.Int("members", 200, "how many members heartbeat")
	sessionMs = flag.Int("session-ms", 6000, "session.timeout.ms of every member")
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "which: members, produce, offsets or heartbeat?")
		os.Exit(2)
	}
	must(flag.CommandLine.Parse(os.Args[2:]))
	switch os.Args[1] {
	case "members":
		serveMembers(os.Stdin)
	case "produce":
		produce(os.Stdin)
	case "offsets":
		printOffsets()
	case "heartbeat":
		heartbeat(os.Stdin)
	default:
		fmt.Fprintln(os.Stderr, "which: members, produce, offsets or heartbeat?")
		os.Exit(2)
	}
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
