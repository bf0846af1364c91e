// Package ideo is a client of the IDE Orchestrator: workflows, drafts, refinements and their events, proposals
// and reviews.
//
// A Client has the generated clients of all services. In addition it follows refinements over connections that
// break, and reads lists to their end. ProblemOf explains errors.
package ideo

import (
	"context"
	"crypto/tls"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	pb "github.com/bizmatters/ide-orchestrator/gen/go/ide_orchestrator/v1"
)

// Options of a Client.
type Options struct {
	// Token returns the current token. It is called for each call and each connection, and once more when the hub
	// refuses the token.
	Token func(context.Context) (string, error)
	// Plaintext is for ports without TLS.
	Plaintext bool
	// TLS is used for both ports unless Plaintext is set; nil means the defaults.
	TLS *tls.Config
	// HTTP is the address of the HTTP port, such as "https://hub.example.com", for FollowOptions.WebSocket.
	HTTP string
	// TrustedHosts are hosts, other than that of the address given to Discover, where the hub may say that gRPC is: the
	// token is sent there.
	TrustedHosts []string
	// Dial are further options of the gRPC connection.
	Dial []grpc.DialOption
}

// StaticToken is a token that stays the same.
func StaticToken(token string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return token, nil }
}

// Client talks to one hub as one user. Its methods may be called by several goroutines at once.
//
// Reads, and calls whose request has a request_id, are repeated while the hub is unavailable. An empty
// request_id is filled in, so that the call takes effect once.
type Client struct {
	Access      pb.AccessServiceClient
	Drafts      pb.DraftServiceClient
	Info        pb.InfoServiceClient
	Proposals   pb.ProposalServiceClient
	Quarantine  pb.QuarantineServiceClient
	Refinements pb.RefinementServiceClient
	Reviews     pb.ReviewServiceClient
	Users       pb.UserServiceClient
	Webhooks    pb.WebhookServiceClient
	Workflows   pb.WorkflowServiceClient

	connection *grpc.ClientConn
	options    Options
	http       *http.Client
	// silence is how long a stream may bring nothing.
	silence time.Duration
}

// New returns a client of the hub whose gRPC port has the address, such as "hub.example.com:443". With "http://" before
// it, Options.Plaintext is set, and with "https://" it is not. It connects when it is first used. Close it when it is
// no longer needed. Discover needs the HTTP address alone.
func New(address string, options Options) (*Client, error) {
	scheme, rest, found := strings.Cut(address, "://")
	if scheme = strings.ToLower(scheme); found && (scheme == "http" || scheme == "https") {
		address, options.Plaintext = strings.TrimRight(rest, "/"), scheme == "http"
	}
	transport := credentials.NewTLS(options.TLS)
	if options.Plaintext {
		transport = insecure.NewCredentials()
	}
	dial := append([]grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingEvery, Timeout: pingTimeout}),
		// By default a hub that was away for a minute would be tried again after two.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: firstPause, Multiplier: 2, Jitter: 0.5, MaxDelay: longestPause},
			MinConnectTimeout: silence,
		}),
		grpc.WithDefaultServiceConfig(retryPolicy()),
		grpc.WithChainUnaryInterceptor(fillRequestID),
	}, options.Dial...)
	if options.Token != nil {
		perCall := grpc.WithPerRPCCredentials(bearer{options.Token, !options.Plaintext})
		dial = append(dial, perCall, grpc.WithChainUnaryInterceptor(renewToken))
	}
	connection, err := grpc.NewClient(address, dial...)
	if err != nil {
		return nil, err
	}
	return &Client{
		Access:      pb.NewAccessServiceClient(connection),
		Drafts:      pb.NewDraftServiceClient(connection),
		Info:        pb.NewInfoServiceClient(connection),
		Proposals:   pb.NewProposalServiceClient(connection),
		Quarantine:  pb.NewQuarantineServiceClient(connection),
		Refinements: pb.NewRefinementServiceClient(connection),
		Reviews:     pb.NewReviewServiceClient(connection),
		Users:       pb.NewUserServiceClient(connection),
		Webhooks:    pb.NewWebhookServiceClient(connection),
		Workflows:   pb.NewWorkflowServiceClient(connection),
		connection:  connection,
		options:     options,
		http:        httpClient(options.TLS),
		silence:     silence,
	}, nil
}

// Close ends all calls and streams.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return c.connection.Close()
}

func httpClient(config *tls.Config) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = config
	// A hub does not redirect. The token and the messages are for its address alone.
	here := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &http.Client{Transport: transport, CheckRedirect: here}
}

// bearer puts the token into each call.
type bearer struct {
	token  func(context.Context) (string, error)
	secure bool
}

func (b bearer) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	token, err := b.token(ctx)
	return map[string]string{"authorization": "Bearer " + token}, err
}

func (b bearer) RequireTransportSecurity() bool { return b.secure }
