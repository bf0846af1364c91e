package ideo

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/bizmatters/ide-orchestrator/gen/go/ide_orchestrator/v1"
)

// wrong is a server that is not a hub: its answers do not end.
type wrong struct {
	pb.UnimplementedRefinementServiceServer
	pb.UnimplementedProposalServiceServer
	// quiet: it sends nothing at all.
	quiet bool
}

func (w wrong) WatchRefinement(_ *pb.WatchRefinementRequest, stream grpc.ServerStreamingServer[pb.WatchRefinementResponse]) error {
	batch := &pb.EventBatch{Events: []*pb.Event{{Seq: 1, OmittedBytes: 1}}}
	if err := stream.Send(&pb.WatchRefinementResponse{Kind: &pb.WatchRefinementResponse_Batch{Batch: batch}}); err != nil {
		return err
	}
	<-stream.Context().Done()
	return stream.Context().Err()
}

func (w wrong) ReadEvent(_ *pb.ReadEventRequest, stream grpc.ServerStreamingServer[pb.ReadEventResponse]) error {
	for !w.quiet {
		if err := stream.Send(&pb.ReadEventResponse{Data: make([]byte, 1<<20)}); err != nil {
			return err
		}
	}
	<-stream.Context().Done()
	return stream.Context().Err()
}

func (wrong) GetProposal(context.Context, *pb.GetProposalRequest) (*pb.GetProposalResponse, error) {
	return &pb.GetProposalResponse{Proposal: &pb.Proposal{UserPrompt: strings.Repeat("x", 5<<20)}}, nil
}

// clientOf is a client of the server.
func clientOf(t *testing.T, server wrong) *Client {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serving := grpc.NewServer()
	pb.RegisterRefinementServiceServer(serving, server)
	pb.RegisterProposalServiceServer(serving, server)
	go func() { _ = serving.Serve(listener) }()
	t.Cleanup(serving.Stop)
	client, err := New(listener.Addr().String(), Options{Plaintext: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// over is a client whose HTTP port is the handler's.
func over(t *testing.T, handler http.HandlerFunc) (*Client, string) {
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	client, err := New("127.0.0.1:9", Options{HTTP: server.URL, Plaintext: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client, server.URL
}

// failure is the error with which following ends.
func failure(t *testing.T, client *Client, options FollowOptions) error {
	options.OnReconnect = func(err error) { t.Error("it was tried again:", err) }
	for _, err := range client.Follow(t.Context(), "thread", options) {
		if err != nil {
			return err
		}
	}
	return nil
}

func expect(t *testing.T, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Fatalf("%v, not %q", err, text)
	}
}

func endless(writer http.ResponseWriter) {
	for piece := []byte(strings.Repeat(" ", 64<<10)); ; {
		if _, err := writer.Write(piece); err != nil {
			return
		}
	}
}

func TestAnEventWithoutAnEndIsAnError(t *testing.T) {
	client := clientOf(t, wrong{})
	_, err := client.ReadEvent(t.Context(), "thread", 1)
	expect(t, err, "event 1 does not end")
	expect(t, failure(t, client, FollowOptions{}), "event 1 does not end")
}

func TestAnEventWhosePiecesDoNotComeIsGivenUp(t *testing.T) {
	client := clientOf(t, wrong{quiet: true})
	client.silence = 10 * time.Millisecond
	_, err := client.ReadEvent(t.Context(), "thread", 1)
	if problem := ProblemOf(err); problem == nil || problem.Code != codes.Canceled {
		t.Fatal(err)
	}
}

func TestAnAnswerAboveTheLimitOfGRPCIsAnError(t *testing.T) {
	_, err := clientOf(t, wrong{}).Proposals.GetProposal(t.Context(), &pb.GetProposalRequest{})
	expect(t, err, "larger than max")
}

// overSocket is a client of a server that sends what it likes over each WebSocket.
func overSocket(t *testing.T, send func(context.Context, *websocket.Conn)) *Client {
	client, _ := over(t, func(w http.ResponseWriter, r *http.Request) {
		socket, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{subprotocol}})
		if err != nil {
			t.Error(err)
			return
		}
		defer socket.CloseNow()
		send(r.Context(), socket)
	})
	return client
}

func TestAMessageOfAWebSocketWithoutAnEndIsAnError(t *testing.T) {
	client := overSocket(t, func(ctx context.Context, socket *websocket.Conn) {
		message, err := socket.Writer(ctx, websocket.MessageBinary)
		for piece := make([]byte, 64<<10); err == nil; {
			_, err = message.Write(piece)
		}
	})
	expect(t, failure(t, client, FollowOptions{WebSocket: true}), "a message that does not end")
}

func TestAWebSocketThatIsNotAHubsIsAnError(t *testing.T) {
	client, _ := over(t, func(w http.ResponseWriter, r *http.Request) {
		if socket, err := websocket.Accept(w, r, nil); err == nil {
			_ = socket.CloseNow()
		}
	})
	expect(t, failure(t, client, FollowOptions{WebSocket: true}), "is not a hub")
	client = overSocket(t, func(ctx context.Context, socket *websocket.Conn) {
		_ = socket.Write(ctx, websocket.MessageBinary, []byte("no message"))
		_, _, _ = socket.Read(ctx)
	})
	expect(t, failure(t, client, FollowOptions{WebSocket: true}), "cannot be read")
}

func TestARefusalWithoutAnEndIsTheRefusal(t *testing.T) {
	client, address := over(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		endless(w)
	})
	expect(t, failure(t, client, FollowOptions{WebSocket: true}), "403")
	_, err := Discover(t.Context(), address, Options{})
	expect(t, err, "403")
}

func TestTheAddressOfGRPCIsWhatTheHubSays(t *testing.T) {
	for answer, expected := range map[string]string{
		`{"grpc": {"host": null, "port": 50051, "tls": false}}`:            "127.0.0.1:50051",
		`{"grpc": {"host": "grpc.example.com", "port": 443, "tls": true}}`: "grpc.example.com:443",
		`{"grpc": {"host": "::1", "port": 50051, "tls": true}}`:            "[::1]:50051",
		`{"grpc": null}`:  "does not say where gRPC is",
		`{}`:              "does not say where gRPC is",
		`{"grpc": "h:1"}`: "does not answer as a hub does",
		`<html>`:          "does not answer as a hub does",
		``:                "does not answer as a hub does",
	} {
		_, address := over(t, func(w http.ResponseWriter, r *http.Request) {
			if _, _ = w.Write([]byte(answer)); answer == "" {
				endless(w)
			}
		})
		client, err := Discover(t.Context(), address+"/", Options{TrustedHosts: []string{"grpc.example.com", "::1"}})
		if err != nil {
			expect(t, err, expected)
			continue
		}
		if client.connection.Target() != expected || client.options.HTTP != address {
			t.Error(client.connection.Target(), client.options.HTTP, "for", answer)
		}
		_ = client.Close()
	}
}

func TestAClientOfAnAddressWithTLSDoesNotTakeAPortWithout(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(`{"grpc": {"host": null, "port": 1, "tls": false}}`))
	}))
	defer server.Close()
	config := server.Client().Transport.(*http.Transport).TLSClientConfig
	_, err := Discover(t.Context(), server.URL, Options{TLS: config})
	expect(t, err, "has no TLS")
}

func TestACallWhoseTokenIsRefusedIsMadeAgainWithTheNextOne(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	refuse := func(ctx context.Context, _ any, _ *grpc.UnaryServerInfo, _ grpc.UnaryHandler) (any, error) {
		given, _ := metadata.FromIncomingContext(ctx)
		if seen = append(seen, given.Get("authorization")...); seen[len(seen)-1] != "Bearer new" {
			return nil, status.Error(codes.Unauthenticated, "the token has expired")
		}
		return &pb.GetProposalResponse{}, nil
	}
	serving := grpc.NewServer(grpc.UnaryInterceptor(refuse))
	pb.RegisterProposalServiceServer(serving, wrong{})
	go func() { _ = serving.Serve(listener) }()
	defer serving.Stop()
	tokens := []string{"old", "new", "old", "older"}
	token := func(context.Context) (string, error) {
		next := tokens[0]
		tokens = tokens[1:]
		return next, nil
	}
	client, err := New(listener.Addr().String(), Options{Plaintext: true, Token: token})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Proposals.GetProposal(t.Context(), &pb.GetProposalRequest{}); err != nil {
		t.Fatal(err)
	}
	_, err = client.Proposals.GetProposal(t.Context(), &pb.GetProposalRequest{})
	if problem := ProblemOf(err); problem == nil || problem.Code != codes.Unauthenticated || len(seen) != 4 {
		t.Fatal(err, seen)
	}
}

func TestARedirectIsAnErrorAndNothingIsSentToWhereItLeads(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Error("it was followed, with", r.Header.Get("Authorization"))
	}))
	defer elsewhere.Close()
	client, address := over(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
	})
	client.options.Token = StaticToken("secret")
	expect(t, failure(t, client, FollowOptions{WebSocket: true}), "307")
	_, err := Discover(t.Context(), address, Options{Token: StaticToken("secret")})
	expect(t, err, "307")
}

// lists is a hub whose lists do not end.
type lists struct {
	pb.UnimplementedWorkflowServiceServer
	cursor func() string
}

func (l lists) ListWorkflows(context.Context, *pb.ListWorkflowsRequest) (*pb.ListWorkflowsResponse, error) {
	return &pb.ListWorkflowsResponse{NextPageToken: l.cursor()}, nil
}

func TestAListWithoutAnEndIsAnError(t *testing.T) {
	page := 0
	for _, cursor := range []func() string{
		func() string { return "again" },
		func() string { page++; return strings.Repeat("x", page) },
	} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		serving := grpc.NewServer()
		pb.RegisterWorkflowServiceServer(serving, lists{cursor: cursor})
		go func() { _ = serving.Serve(listener) }()
		defer serving.Stop()
		client, err := New(listener.Addr().String(), Options{Plaintext: true})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		var last error
		for _, err := range client.ListWorkflows(t.Context(), &pb.ListWorkflowsRequest{}) {
			last = err
		}
		expect(t, last, "does not end")
	}
}

func TestAServerThatAsksForYearsIsWaitedForForMinutes(t *testing.T) {
	for given, expected := range map[string]time.Duration{
		"7": 7 * time.Second, "1000000000": maxRetryAfter, "99999999999999": maxRetryAfter, "-1": 0, "soon": 0,
	} {
		answer := &http.Response{StatusCode: 503, Header: http.Header{"Retry-After": {given}}, Body: http.NoBody}
		if found := problemOfAnswer(answer).RetryAfter; found != expected {
			t.Error(given, found)
		}
	}
	refusal, err := status.New(codes.Unavailable, "").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(1e9 * time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	if found := ProblemOf(refusal.Err()).RetryAfter; found != maxRetryAfter {
		t.Error(found)
	}
}

func TestAStreamThatRepeatsItsEventsWithoutAnEndIsAnError(t *testing.T) {
	client := overSocket(t, func(ctx context.Context, socket *websocket.Conn) {
		batch := &pb.EventBatch{Events: []*pb.Event{{Seq: 1}}}
		message, err := proto.Marshal(&pb.WatchRefinementResponse{Kind: &pb.WatchRefinementResponse_Batch{Batch: batch}})
		for err == nil {
			err = socket.Write(ctx, websocket.MessageBinary, message)
		}
	})
	expect(t, failure(t, client, FollowOptions{WebSocket: true}), "again and again")
}

func TestATokenIsNotForAnotherHostThatAHubNames(t *testing.T) {
	_, address := over(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(`{"grpc": {"host": "Elsewhere.example.com", "port": 443, "tls": true}}`))
	})
	_, err := Discover(t.Context(), address, Options{TrustedHosts: []string{"other.example.com"}})
	expect(t, err, "at another host")
	client, err := Discover(t.Context(), address, Options{TrustedHosts: []string{"elsewhere.EXAMPLE.com"}})
	if err != nil {
		t.Fatal(err)
	}
	_ = client.Close()
}

func TestAServerWhoseCertificateIsNotAcceptedIsNotTriedAgain(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.EnableHTTP2 = true
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	client, err := New(server.URL, Options{HTTP: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	for _, socket := range []bool{true, false} {
		expect(t, failure(t, client, FollowOptions{WebSocket: socket}), "failed to verify certificate")
	}
}

func TestTheSchemeOfAnAddressSaysWhetherThePortHasTLS(t *testing.T) {
	for address, plaintext := range map[string]bool{"http://127.0.0.1:9/": true, "https://127.0.0.1:9": false} {
		client, err := New(address, Options{Plaintext: !plaintext})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.Close() })
		if client.options.Plaintext != plaintext || client.connection.Target() != "127.0.0.1:9" {
			t.Error(address, client.options.Plaintext, client.connection.Target())
		}
	}
}
