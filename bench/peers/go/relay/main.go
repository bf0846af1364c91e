// The relay of the first design: gorilla/websocket on both sides, each event read as JSON into a map and written as JSON.
// `relay RUNTIME` serves on a free port and prints its address. /stream/{thread} is the first design's own handler,
// with one connection to the runtime for each client; /fan/{thread} is the hub that one would add to it, with one
// connection for each thread, a prepared message for each event and a channel for each client.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/gorilla/websocket"
)

type streamEvent struct {
	EventType string                 `json:"event_type"`
	Data      map[string]interface{} `json:"data"`
}

var upgrader = websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}

func dial(runtime, thread string) (*websocket.Conn, error) {
	conn, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(runtime, "http")+"/stream/"+thread, nil)
	return conn, err
}

// forward reads events until the last one, keeps the newest files as the first design does, and gives each event on.
func forward(upstream *websocket.Conn, give func(streamEvent) error) {
	var finalFiles map[string]interface{}
	for {
		var event streamEvent
		if err := upstream.ReadJSON(&event); err != nil {
			return
		}
		if event.EventType == "on_state_update" {
			if files, ok := event.Data["files"].(map[string]interface{}); ok {
				finalFiles = files
			}
		}
		if err := give(event); err != nil || event.EventType == "end" {
			_ = finalFiles // the first design stores them from here on, once
			return
		}
	}
}

func stream(runtime string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		client, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer client.Close()
		upstream, err := dial(runtime, r.PathValue("thread"))
		if err != nil {
			return
		}
		defer upstream.Close()
		forward(upstream, func(event streamEvent) error { return client.WriteJSON(event) })
	}
}

// channelDepth is how many events a client may be behind; after that it holds up all others.
const channelDepth = 256

type room struct {
	mutex   sync.Mutex
	members map[chan *websocket.PreparedMessage]struct{}
}

type rooms struct {
	mutex  sync.Mutex
	byName map[string]*room
}

func (all *rooms) join(runtime, thread string) (*room, chan *websocket.PreparedMessage, error) {
	all.mutex.Lock()
	defer all.mutex.Unlock()
	joined := all.byName[thread]
	if joined == nil {
		upstream, err := dial(runtime, thread)
		if err != nil {
			return nil, nil, err
		}
		joined = &room{members: map[chan *websocket.PreparedMessage]struct{}{}}
		all.byName[thread] = joined
		go func() {
			defer upstream.Close()
			joined.run(upstream)
			all.mutex.Lock()
			delete(all.byName, thread)
			all.mutex.Unlock()
		}()
	}
	member := make(chan *websocket.PreparedMessage, channelDepth)
	joined.mutex.Lock()
	joined.members[member] = struct{}{}
	joined.mutex.Unlock()
	return joined, member, nil
}

func prepare(event streamEvent) (*websocket.PreparedMessage, error) {
	text, err := json.Marshal(event)
	if err != nil {
		return nil, err
	}
	return websocket.NewPreparedMessage(websocket.TextMessage, text)
}

func (joined *room) run(upstream *websocket.Conn) {
	forward(upstream, func(event streamEvent) error {
		prepared, err := prepare(event)
		if err != nil {
			return err
		}
		joined.mutex.Lock()
		defer joined.mutex.Unlock()
		for member := range joined.members {
			member <- prepared
		}
		return nil
	})
	joined.mutex.Lock()
	defer joined.mutex.Unlock()
	for member := range joined.members {
		close(member)
	}
	joined.members = nil
}

func (joined *room) leave(member chan *websocket.PreparedMessage) {
	// Whoever writes to the channel meanwhile must not wait for a reader that is gone.
	go func() {
		for range member {
		}
	}()
	joined.mutex.Lock()
	delete(joined.members, member)
	joined.mutex.Unlock()
}

func fan(runtime string) http.HandlerFunc {
	all := &rooms{byName: map[string]*room{}}
	return func(w http.ResponseWriter, r *http.Request) {
		client, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer client.Close()
		joined, member, err := all.join(runtime, r.PathValue("thread"))
		if err != nil {
			return
		}
		for prepared := range member {
			if err := client.WritePreparedMessage(prepared); err != nil {
				joined.leave(member)
				return
			}
		}
	}
}

func main() {
	runtime := os.Args[1]
	mux := http.NewServeMux()
	mux.HandleFunc("GET /stream/{thread}", stream(runtime))
	mux.HandleFunc("GET /fan/{thread}", fan(runtime))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("peer http://%s\n", listener.Addr())
	log.Fatal(http.Serve(listener, mux))
}
