package ideo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// maxAnswerBytes is far above what GET /api/info answers with.
const maxAnswerBytes = 1 << 20

// Discover returns a client of the hub whose HTTP port has the address, such as "https://hub.example.com". The hub
// says where gRPC is, and whether that port has TLS: Options.HTTP and Options.Plaintext are set by that.
//
// The token is sent there. It fails when the hub does not say it, when it names another host that is not one of
// Options.TrustedHosts, and when the hub is called with TLS and its gRPC port has none: the token would be readable
// on its way. Then give the address to New.
func Discover(ctx context.Context, address string, options Options) (*Client, error) {
	address = strings.TrimRight(address, "/")
	info, err := readInfo(ctx, address, options)
	if err != nil {
		return nil, err
	}
	if info.GRPC == nil {
		return nil, fmt.Errorf("ideo: the hub at %s does not say where gRPC is: give its address to New", address)
	}
	parsed, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	host := info.GRPC.Host
	if host == "" {
		host = parsed.Hostname()
	}
	same := func(trusted string) bool { return strings.EqualFold(host, trusted) }
	if !same(parsed.Hostname()) && !slices.ContainsFunc(options.TrustedHosts, same) {
		return nil, fmt.Errorf("ideo: the hub at %s says that gRPC is at another host, %q: give its address to New, or name the host in Options.TrustedHosts", address, host)
	}
	target := net.JoinHostPort(host, strconv.Itoa(info.GRPC.Port))
	if parsed.Scheme == "https" && !info.GRPC.TLS {
		return nil, fmt.Errorf("ideo: gRPC at %s has no TLS, and the hub at %s has: give its address to New", target, address)
	}
	options.HTTP, options.Plaintext = address, !info.GRPC.TLS
	return New(target, options)
}

// serverInfo is the part of what GET /api/info says that is used here.
type serverInfo struct {
	GRPC *struct {
		Host string `json:"host"`
		Port int    `json:"port"`
		TLS  bool   `json:"tls"`
	} `json:"grpc"`
}

func readInfo(ctx context.Context, address string, options Options) (*serverInfo, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, silence, fmt.Errorf("ideo: the hub at %s does not answer", address))
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"/api/info", nil)
	if err != nil {
		return nil, err
	}
	if options.Token != nil {
		token, err := options.Token(ctx)
		if err != nil {
			return nil, err
		}
		request.Header.Set("Authorization", "Bearer "+token)
	}
	client := httpClient(options.TLS)
	defer client.CloseIdleConnections()
	answer, err := client.Do(request)
	if err != nil {
		return nil, errors.Join(err, context.Cause(ctx))
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, problemOfAnswer(answer)
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswerBytes+1))
	if err != nil {
		return nil, errors.Join(err, context.Cause(ctx))
	}
	info := &serverInfo{}
	if len(text) > maxAnswerBytes || json.Unmarshal(text, info) != nil {
		return nil, fmt.Errorf("ideo: %s does not answer as a hub does", address)
	}
	return info, nil
}
