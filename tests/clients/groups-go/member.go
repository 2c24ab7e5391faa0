package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// member is one member of one group. It commits what it has processed before it lets a rebalance go on.
type member struct {
	log      *events
	group    string
	client   *kgo.Client
	ready    chan struct{} // closed when client is set
	static   string        // the instance id, or "-"
	stop     context.CancelFunc
	done     chan struct{}
	requests int

	guard        sync.Mutex
	id           string             // the member id of the last assignment
	expelled     bool               // what was polled is another's by now
	cancelCommit context.CancelFunc // of the commit that is under way
}

var balancers = map[string]func() kgo.GroupBalancer{
	"range":              kgo.RangeBalancer,
	"roundrobin":         kgo.RoundRobinBalancer,
	"sticky":             kgo.StickyBalancer,
	"cooperative-sticky": kgo.CooperativeStickyBalancer,
}

// watched is an assignor that writes down what the coordinator hands out, before anyone acts on it.
//
// It also mends a habit of kgo's cooperative groups. A member that was expelled while it waited for JoinGroup joins again under
// a new id, and goes on with what it had as if it had never lost it: it would commit old positions in the new generation, and
// no coordinator could tell. So such an assignment is refused, upon which kgo drops everything and joins once more.
type watched struct {
	kgo.GroupBalancer
	member *member
}

var errExpelled = errors.New("expelled in between: what it had is another's")

func (balancer watched) ParseSyncAssignment(assignment []byte) (map[string][]int32, error) {
	assigned, err := balancer.GroupBalancer.ParseSyncAssignment(assignment)
	if err != nil {
		return nil, err
	}
	m := balancer.member
	<-m.ready
	id, generation := m.client.GroupMetadata()
	m.log.write("assigned", generation, id, m.static, partitions(assigned))
	m.guard.Lock()
	defer m.guard.Unlock()
	before := m.id
	m.id = id
	if balancer.IsCooperative() && before != "" && before != id {
		m.expelled = true
		m.cancelCommit()
		return nil, errExpelled
	}
	m.expelled = false
	return assigned, nil
}

// OnGroupManageError is kgo's hook for whatever makes a member leave its session.
func (m *member) OnGroupManageError(err error) { m.log.write("error", quoted(err)) }

func startMember(who, group, assignor string, static bool) *member {
	m := &member{log: openEvents(who, group), group: group, ready: make(chan struct{}), done: make(chan struct{}), static: "-", cancelCommit: func() {}}
	session := time.Duration(*sessionMs) * time.Millisecond
	options := []kgo.Opt{
		kgo.SeedBrokers(*server), kgo.ClientID(who), kgo.ConsumerGroup(group), kgo.ConsumeTopics(*topic),
		kgo.Balancers(watched{balancers[assignor](), m}),
		kgo.SessionTimeout(session), kgo.HeartbeatInterval(session / 10), kgo.RebalanceTimeout(2 * session),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(500 * time.Millisecond),
		kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(), kgo.WithHooks(m),
		kgo.RetryBackoffFn(func(int) time.Duration { return 250 * time.Millisecond }),
		kgo.OnPartitionsAssigned(func(ctx context.Context, _ *kgo.Client, added map[string][]int32) { m.fetchCommitted(ctx, added) }),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
			m.log.write("revoked", partitions(gone))
		}),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, gone map[string][]int32) { m.log.write("lost", partitions(gone)) }),
		kgo.AdjustFetchOffsetsFn(m.started),
	}
	if static {
		m.static = who
		options = append(options, kgo.InstanceID(who))
	}
	m.log.write("joining")
	client, err := kgo.NewClient(options...)
	must(err)
	m.client = client
	close(m.ready)
	ctx, cancel := context.WithCancel(context.Background())
	m.stop = cancel
	go m.work(ctx)
	return m
}

// work reads, writes down what it has read, and commits that, until it is told to leave.
func (m *member) work(ctx context.Context) {
	defer close(m.done)
	for ctx.Err() == nil {
		within, cancel := context.WithTimeout(ctx, time.Second)
		fetches := m.client.PollRecords(within, 1000)
		cancel()
		_, generation := m.client.GroupMetadata()
		next := map[int32]int64{}
		fetches.EachPartition(func(fetched kgo.FetchTopicPartition) {
			if fetched.Err != nil && within.Err() == nil {
				m.log.write("poll-error", quoted(fetched.Err))
			}
			if len(fetched.Records) > 0 {
				m.process(generation, fetched.Partition, fetched.Records)
				next[fetched.Partition] = fetched.Records[len(fetched.Records)-1].Offset + 1
			}
		})
		if len(next) > 0 {
			m.commit(next)
		}
		m.client.AllowRebalance()
		if rand.IntN(20) == 0 {
			m.fetchCommitted(ctx, map[string][]int32{*topic: mapsKeys(next)})
		}
		pause := time.NewTimer(time.Duration(rand.IntN(400)) * time.Millisecond)
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
	}
	m.log.write("leaving")
	m.client.CloseAllowingRebalance()
	m.log.write("left")
}

func mapsKeys(offsets map[int32]int64) []int32 {
	var keys []int32
	for key := range offsets {
		keys = append(keys, key)
	}
	return keys
}

// process writes runs of records: offsets and numbers that both go up by one.
func (m *member) process(generation, partition int32, records []*kgo.Record) {
	first := 0
	for index := range records {
		last := index+1 == len(records)
		if !last && records[index+1].Offset == records[index].Offset+1 && number(records[index+1]) == number(records[index])+1 {
			continue
		}
		m.log.write("processed", partition, records[first].Offset, records[index].Offset,
			number(records[first]), number(records[index]), generation)
		first = index + 1
	}
}

// number of a record: the producer numbers the records of each partition.
func number(record *kgo.Record) int64 {
	value, err := strconv.ParseInt(string(record.Value), 10, 64)
	must(err)
	return value
}

func (m *member) commit(next map[int32]int64) {
	m.requests++
	id := fmt.Sprintf("c%d", m.requests)
	offsets := map[int32]kgo.EpochOffset{}
	for partition, offset := range next {
		offsets[partition] = kgo.EpochOffset{Epoch: -1, Offset: offset}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	m.guard.Lock()
	expelled := m.expelled
	m.cancelCommit = cancel
	m.guard.Unlock()
	if expelled {
		return
	}
	m.log.write("committing", id, offsetsText(next))
	m.client.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{*topic: offsets},
		func(_ *kgo.Client, request *kmsg.OffsetCommitRequest, response *kmsg.OffsetCommitResponse, err error) {
			if err != nil {
				m.log.write("commit-failed", id, quoted(err))
				return
			}
			taken := map[int32]int64{}
			for _, topic := range response.Topics {
				for _, partition := range topic.Partitions {
					if err := kerr.ErrorForCode(partition.ErrorCode); err != nil {
						m.log.write("refused", id, partition.Partition, quoted(err))
					} else {
						taken[partition.Partition] = next[partition.Partition]
					}
				}
			}
			if len(taken) > 0 {
				m.log.write("committed", id, request.Generation, request.MemberID, offsetsText(taken))
			}
		})
}

// fetchCommitted asks for committed offsets as any other client may, beside what kgo does for itself.
func (m *member) fetchCommitted(ctx context.Context, of map[string][]int32) {
	if len(of[*topic]) == 0 {
		return
	}
	id := fmt.Sprintf("f%d", rand.Uint32())
	m.log.write("fetching", id, partitions(of))
	within, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	offsets, err := committed(within, m.client, m.group, of[*topic])
	if err != nil {
		m.log.write("fetch-failed", id, quoted(err))
		return
	}
	m.log.write("fetched", id, offsetsText(offsets))
}

// started writes down where kgo itself begins: what it was told is committed (below zero: nothing is).
func (m *member) started(_ context.Context, begin map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	offsets := map[int32]int64{}
	for partition, offset := range begin[*topic] {
		offsets[partition] = offset.EpochOffset().Offset
	}
	m.log.write("started", offsetsText(offsets))
	return begin, nil
}

// serveMembers obeys the driver, and lets all members leave when it has gone.
func serveMembers(commands io.Reader) {
	present := map[string]*member{}
	lines := bufio.NewScanner(commands)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		who := words[1]
		switch words[0] {
		case "join":
			if before, found := present[who]; found {
				<-before.done // of a member that was told to leave
			}
			present[who] = startMember(who, words[2], words[3], len(words) > 4)
		case "leave":
			present[who].stop()
		}
	}
	for _, m := range present {
		m.stop()
	}
	for _, m := range present {
		<-m.done
	}
}
