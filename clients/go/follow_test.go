package ideo

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/protobuf/proto"

	pb "github.com/bizmatters/ide-orchestrator/gen/go/ide_orchestrator/v1"
)

// follow reads from a hub whose connections send these events and break. The last event of the last connection is
// the terminal one. It gives the events' seqs, the cursors of the connections, and the error.
func follow(t *testing.T, connections ...[]uint32) (seqs []uint32, cursors []string, err error) {
	last := connections[len(connections)-1]
	serve := func(w http.ResponseWriter, r *http.Request) {
		events := connections[len(cursors)]
		cursors = append(cursors, r.URL.Query().Get("after"))
		socket, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"ideo.v1.proto"}})
		if err != nil {
			t.Error(err)
			return
		}
		defer socket.CloseNow()
		for _, seq := range events {
			event := &pb.Event{Seq: seq}
			if seq == last[len(last)-1] {
				event.Kind = &pb.Event_Terminal{Terminal: &pb.Terminal{}}
			}
			batch := &pb.EventBatch{Events: []*pb.Event{event}}
			message, _ := proto.Marshal(&pb.WatchRefinementResponse{Kind: &pb.WatchRefinementResponse_Batch{Batch: batch}})
			if socket.Write(r.Context(), websocket.MessageBinary, message) != nil {
				return // the client has left
			}
		}
	}
	server := httptest.NewServer(http.HandlerFunc(serve))
	defer server.Close()
	client, err := New("127.0.0.1:9", Options{HTTP: server.URL, Plaintext: true})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for event, err := range client.Follow(t.Context(), "thread", FollowOptions{WebSocket: true}) {
		if err != nil {
			return seqs, cursors, err
		}
		seqs = append(seqs, event.Seq)
	}
	return seqs, cursors, nil
}

func TestAMissingEventIsAskedForAgainAndARepeatedOneIsDropped(t *testing.T) {
	seqs, cursors, err := follow(t, []uint32{1, 3}, []uint32{2, 2, 3, 4, 4})
	if err != nil || !slices.Equal(seqs, []uint32{1, 2, 3, 4}) || !slices.Equal(cursors, []string{"0", "1"}) {
		t.Fatal(seqs, cursors, err)
	}
}

func TestAnEventThatTwoConnectionsMissIsAnError(t *testing.T) {
	seqs, _, err := follow(t, []uint32{1, 3}, []uint32{3, 4})
	if err == nil || !strings.Contains(err.Error(), "event 2 is missing") || !slices.Equal(seqs, []uint32{1}) {
		t.Fatal(seqs, err)
	}
}

func TestAConnectionThatBreaksIsNotTheEnd(t *testing.T) {
	seqs, cursors, err := follow(t, []uint32{1}, nil, []uint32{2, 3})
	if err != nil || !slices.Equal(seqs, []uint32{1, 2, 3}) || !slices.Equal(cursors, []string{"0", "1", "1"}) {
		t.Fatal(seqs, cursors, err)
	}
}

func TestCallsAreRepeatedWhenThatIsSafe(t *testing.T) {
	for method, safe := range map[string]bool{
		"GetProposal": true, "ListQuarantinedShapes": true, "ScanQuarantine": false, "ListWorkflows": true, "StartRefinement": true, "AcceptProposal": true,
		"CreateWorkflow": false, "SetDecisions": false, "WatchRefinement": false,
	} {
		if strings.Contains(retryPolicy(), `"method":"`+method+`"`) != safe {
			t.Error(method, "is repeated:", !safe)
		}
	}
}

func TestAStreamWhoseTokenIsRefusedIsOpenedOnceMore(t *testing.T) {
	for refusals, expected := range map[int]string{1: "", 2: "unauthenticated"} {
		opened := 0
		serve := func(w http.ResponseWriter, r *http.Request) {
			if opened++; opened <= refusals {
				w.WriteHeader(http.StatusUnauthorized)
				_, _ = w.Write([]byte(`{"code": "unauthenticated", "detail": "the token has expired"}`))
				return
			}
			socket, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{subprotocol}})
			if err == nil {
				_ = socket.Close(websocket.StatusNormalClosure, "")
			}
		}
		client, _ := over(t, serve)
		var reason string
		for _, err := range client.Follow(t.Context(), "thread", FollowOptions{WebSocket: true}) {
			reason = ProblemOf(err).Reason
		}
		if reason != expected || opened != 2 {
			t.Error(refusals, "refusals:", reason, opened)
		}
	}
}

func TestAFaultOfTheHubAtTheUpgradeIsTriedAgain(t *testing.T) {
	opened := 0
	client, _ := over(t, func(w http.ResponseWriter, r *http.Request) {
		if opened++; opened == 1 {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = w.Write([]byte(`{"code": "internal", "detail": "internal error"}`))
			return
		}
		socket, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{subprotocol}})
		if err == nil {
			_ = socket.Close(websocket.StatusNormalClosure, "")
		}
	})
	for _, err := range client.Follow(t.Context(), "thread", FollowOptions{WebSocket: true}) {
		t.Error(err)
	}
	if opened != 2 {
		t.Error(opened)
	}
}

func TestALargeEventMayTakeLongerThanAHubIsSilent(t *testing.T) {
	const part = 32 << 10
	event := &pb.Event{Seq: 1, Kind: &pb.Event_Terminal{Terminal: &pb.Terminal{Message: strings.Repeat("x", 20*part)}}}
	batch := &pb.EventBatch{Events: []*pb.Event{event}}
	message, _ := proto.Marshal(&pb.WatchRefinementResponse{Kind: &pb.WatchRefinementResponse_Batch{Batch: batch}})
	client := overSocket(t, func(ctx context.Context, socket *websocket.Conn) {
		writer, err := socket.Writer(ctx, websocket.MessageBinary)
		pace := time.NewTicker(50 * time.Millisecond)
		defer pace.Stop()
		for piece := range slices.Chunk(message, part) {
			if err == nil {
				_, err = writer.Write(piece)
				<-pace.C
			}
		}
		_ = writer.Close()
		_, _, _ = socket.Read(ctx)
	})
	client.silence = 500 * time.Millisecond
	if err := failure(t, client, FollowOptions{WebSocket: true}); err != nil {
		t.Fatal(err)
	}
}
