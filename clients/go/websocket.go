package ideo

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/coder/websocket"
	"google.golang.org/protobuf/proto"

	pb "github.com/bizmatters/ide-orchestrator/gen/go/ide_orchestrator/v1"
)

// maxMessageBytes is above the largest event, of 16 MiB of JSON and more. The hub learns it, and leaves parts of a
// larger event out.
const maxMessageBytes = 64 << 20

// partBytes of a message are read together.
const partBytes = 32 << 10

const subprotocol = "ideo.v1.proto"

// finalCloses are codes after which connecting again does not help: what was sent is too large, the request is
// wrong, or not allowed, or the cursor is outside the journal.
var finalCloses = []websocket.StatusCode{1009, 4400, 4403, 4404, 4410}

// errConnection: a connection could not be made, or broke.
var errConnection = errors.New("ideo: the connection was lost")

// CloseError says that the hub closed a stream, and that connecting again would not help.
type CloseError struct {
	Code   int
	Reason string
}

func (e *CloseError) Error() string {
	return fmt.Sprintf("ideo: the stream was closed with %d %s", e.Code, e.Reason)
}

// webSocket has the messages of one connection in the form ideo.v1.proto.
type webSocket struct {
	ctx    context.Context
	socket *websocket.Conn
	heard  func()
}

// openWebSocket connects. The connection ends with the context. heard: called for each part of a message.
func (c *Client) openWebSocket(ctx context.Context, threadID string, after uint32, heard func()) (messages, error) {
	if c.options.HTTP == "" {
		return nil, errors.New("ideo: Options.HTTP is needed to follow over a WebSocket")
	}
	token, err := c.token(ctx)
	if err != nil {
		return nil, err
	}
	// Whole events: a network that needs a WebSocket may not let ReadEvent through.
	address := fmt.Sprintf("%s/api/ws/refinements/%s?after=%d&max_message_bytes=%d", strings.TrimRight(c.options.HTTP, "/"), url.PathEscape(threadID), after, maxMessageBytes)
	socket, answer, err := websocket.Dial(ctx, address, &websocket.DialOptions{
		HTTPClient:   c.http,
		HTTPHeader:   http.Header{"Authorization": {"Bearer " + token}},
		Subprotocols: []string{subprotocol},
	})
	if answer != nil && err != nil {
		return nil, problemOfAnswer(answer)
	}
	if refused := new(tls.CertificateVerificationError); errors.As(err, &refused) {
		return nil, fmt.Errorf("ideo: the certificate of %s is not accepted: %w", c.options.HTTP, refused)
	}
	if err != nil {
		return nil, lost(err)
	}
	if socket.Subprotocol() != subprotocol {
		_ = socket.CloseNow()
		return nil, fmt.Errorf("ideo: %s is not a hub: it does not know %s", c.options.HTTP, subprotocol)
	}
	socket.SetReadLimit(maxMessageBytes)
	context.AfterFunc(ctx, func() { _ = socket.CloseNow() })
	return webSocket{ctx, socket, heard}, nil
}

func (w webSocket) Recv() (*pb.WatchRefinementResponse, error) {
	data, err := w.read()
	if err == nil {
		message := &pb.WatchRefinementResponse{}
		if proto.Unmarshal(data, message) != nil {
			return nil, errors.New("ideo: the hub sent a message that cannot be read")
		}
		return message, nil
	}
	if errors.Is(err, websocket.ErrMessageTooBig) {
		return nil, fmt.Errorf("ideo: the hub sent a message that does not end: it has more than %d bytes", maxMessageBytes)
	}
	var closed websocket.CloseError
	if !errors.As(err, &closed) {
		return nil, lost(err)
	}
	if closed.Code == websocket.StatusNormalClosure {
		return nil, io.EOF
	}
	if slices.Contains(finalCloses, closed.Code) {
		return nil, &CloseError{int(closed.Code), closed.Reason}
	}
	return nil, lost(err)
}

// read reads the next message, a part at a time: a large one may take longer than a hub is silent.
func (w webSocket) read() ([]byte, error) {
	_, reader, err := w.socket.Reader(w.ctx)
	if err != nil {
		return nil, err
	}
	var data bytes.Buffer
	for {
		_, err := io.CopyN(&data, reader, partBytes)
		if errors.Is(err, io.EOF) {
			return data.Bytes(), nil
		}
		if err != nil {
			return nil, err
		}
		w.heard()
	}
}

// lost hides what err is: io.EOF, which ends a connection without a close, is not the end of the journal.
func lost(err error) error { return fmt.Errorf("%w: %v", errConnection, err) }
