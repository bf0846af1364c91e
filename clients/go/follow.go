package ideo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	pb "github.com/bizmatters/ide-orchestrator/gen/go/ide_orchestrator/v1"
)

// At most 15 s pass without a message: after longer silence the connection is dead.
const silence = 20 * time.Second

// maxRepeats of events may come in a row. A hub repeats those of a few messages at most, after a reconnection.
const maxRepeats = 10_000

// certificateRefused is in what gRPC says of a server whose certificate is not accepted: another connection does not help.
const certificateRefused = "tls: failed to verify certificate"

// The secret of a share link begins with this. Its reader begins at the cursor of the link.
const shareLink = "ideo_share_"

// FollowOptions says how a refinement is followed.
type FollowOptions struct {
	// After is the last seq that the caller has: only later events are delivered.
	After uint32
	// WebSocket follows over the HTTP port, for networks that block gRPC.
	WebSocket bool
	// Partial delivers events above 3 MiB as they come over gRPC: with parts left out (Event.OmittedBytes).
	// Otherwise they are completed with ReadEvent.
	Partial bool
	// OnProgress is called with the runtime's reports of progress, for people.
	OnProgress func(string)
	// OnReconnect is called before each further connection, with why the last one ended.
	OnReconnect func(error)
}

// messages are those of one connection. Recv gives io.EOF when the journal has ended.
type messages interface {
	Recv() (*pb.WatchRefinementResponse, error)
}

// Follow yields the events of a refinement after the cursor, each once and in order, then each new one, until the
// terminal event. It connects again whenever a connection breaks, until the context ends. An error is the last
// thing that it yields: a Problem when the hub refuses, or the context's.
func (c *Client) Follow(ctx context.Context, threadID string, options FollowOptions) iter.Seq2[*pb.Event, error] {
	return func(yield func(*pb.Event, error) bool) {
		f := follower{client: c, threadID: threadID, after: options.After, options: options}
		for attempt := 0; ; attempt++ {
			before := f.after
			err := f.connection(ctx, yield)
			if err == nil {
				return
			}
			if ctx.Err() != nil {
				yield(nil, context.Cause(ctx))
				return
			}
			if f.after > before {
				attempt = 0
			}
			if !f.again(err) {
				yield(nil, err)
				return
			}
			if options.OnReconnect != nil {
				options.OnReconnect(err)
			}
			var atLeast time.Duration
			if problem := ProblemOf(err); problem != nil {
				atLeast = problem.RetryAfter
			}
			pause(ctx, attempt, atLeast)
		}
	}
}

// follower is the state of Follow: the cursor, and what happened at it.
type follower struct {
	client   *Client
	threadID string
	after    uint32
	options  FollowOptions
	// started: whether an event was delivered.
	started bool
	// rejected: whether the last connection's token was refused, and it brought no message.
	rejected bool
	// missing is the seq that was missing on an earlier connection.
	missing uint32
	// repeats is how many events in a row came again.
	repeats int
}

// connection delivers the events of one connection. It returns nil when the journal has ended, or the caller.
func (f *follower) connection(ctx context.Context, yield func(*pb.Event, error) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	timer := time.AfterFunc(f.client.silence, cancel)
	defer timer.Stop()
	heard := func() { timer.Reset(f.client.silence) }
	stream, err := f.open(ctx, heard)
	if err != nil {
		return err
	}
	for {
		heard()
		message, err := stream.Recv()
		// The time does not run while the caller is busy.
		timer.Stop()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		f.rejected = false
		if progress := message.GetHeartbeat().GetProgress(); progress != "" && f.options.OnProgress != nil {
			f.options.OnProgress(progress)
		}
		for _, event := range message.GetBatch().GetEvents() {
			if event.Seq <= f.after {
				if f.repeats++; f.repeats > maxRepeats {
					return errors.New("ideo: the hub sends the same events again and again")
				}
				continue
			}
			f.repeats = 0
			if err := f.check(ctx, event.Seq); err != nil {
				return err
			}
			if event.OmittedBytes > 0 && !f.options.Partial {
				if event, err = f.client.ReadEvent(ctx, f.threadID, event.Seq); err != nil {
					return err
				}
			}
			f.after, f.started = event.Seq, true
			if !yield(event, nil) || event.GetTerminal() != nil {
				return nil
			}
		}
	}
}

// open connects. heard: called for each part of a message.
func (f *follower) open(ctx context.Context, heard func()) (messages, error) {
	if f.options.WebSocket {
		return f.client.openWebSocket(ctx, f.threadID, f.after, heard)
	}
	return f.client.Refinements.WatchRefinement(ctx, &pb.WatchRefinementRequest{ThreadId: f.threadID, AfterSeq: f.after})
}

// check returns an error when an event before seq is missing.
func (f *follower) check(ctx context.Context, seq uint32) error {
	if seq == f.after+1 {
		return nil
	}
	if token, err := f.client.token(ctx); !f.started && err == nil && strings.HasPrefix(token, shareLink) {
		return nil
	}
	if f.missing == f.after+1 {
		return fmt.Errorf("ideo: event %d is missing, on two connections", f.missing)
	}
	f.missing = f.after + 1
	return fmt.Errorf("%w: event %d is missing", errConnection, f.missing)
}

// again reports whether another connection may succeed.
func (f *follower) again(err error) bool {
	problem := ProblemOf(err)
	if problem == nil {
		return errors.Is(err, errConnection)
	}
	if problem.RetryAfter > 0 {
		return true
	}
	if strings.Contains(problem.Detail, certificateRefused) {
		return false
	}
	switch problem.Code {
	case codes.Unavailable, codes.Aborted, codes.Internal, codes.Unknown, codes.Canceled:
		return true
	}
	if problem.Code == codes.Unauthenticated || problem.HTTPStatus == http.StatusUnauthorized {
		// The token has ended: the next one may be good.
		before := f.rejected
		f.rejected = true
		return !before
	}
	// A fault of the hub may be gone on the next connection.
	return (problem.Reason == "" || problem.Reason == "internal") && problem.HTTPStatus >= 500
}

// token is the current token; empty without one.
func (c *Client) token(ctx context.Context) (string, error) {
	if c.options.Token == nil {
		return "", nil
	}
	return c.options.Token(ctx)
}

// ReadEvent reads one event whole, however large it is. After a broken connection it continues where that ended.
func (c *Client) ReadEvent(ctx context.Context, threadID string, seq uint32) (*pb.Event, error) {
	var data []byte
	for attempt := 0; ; attempt++ {
		before := len(data)
		err := c.readPieces(ctx, &pb.ReadEventRequest{ThreadId: threadID, Seq: seq, Offset: uint64(before)}, &data)
		if err == nil {
			event := &pb.Event{}
			return event, proto.Unmarshal(data, event)
		}
		if len(data) > before {
			attempt = 0
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		problem := ProblemOf(err)
		if problem == nil || problem.Code != codes.Unavailable && problem.RetryAfter == 0 || attempt == 4 {
			return nil, err
		}
		pause(ctx, attempt, problem.RetryAfter)
	}
}

func (c *Client) readPieces(ctx context.Context, request *pb.ReadEventRequest, data *[]byte) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	timer := time.AfterFunc(c.silence, cancel)
	defer timer.Stop()
	stream, err := c.Refinements.ReadEvent(ctx, request)
	if err != nil {
		return err
	}
	for {
		piece, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		timer.Reset(c.silence)
		if *data = append(*data, piece.Data...); len(*data) > maxMessageBytes {
			return fmt.Errorf("ideo: event %d does not end: it has more than %d bytes", request.Seq, maxMessageBytes)
		}
	}
}
