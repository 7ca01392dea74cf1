// Go's net/smtp, a connection a goroutine: send-go HOST PORT MAILS CONNECTIONS SIZE RUN
package main

import (
	"fmt"
	"net/smtp"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

const from, to = "a@posthaste.example", "b@posthaste.example"

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	if os.Args[1] == "--version" {
		fmt.Println(runtime.Version())
		return
	}
	server := os.Args[1] + ":" + os.Args[2]
	var numbers [4]int
	for i := range numbers {
		number, err := strconv.Atoi(os.Args[3+i])
		must(err)
		numbers[i] = number
	}
	mails, connections, size, run := numbers[0], numbers[1], numbers[2], numbers[3]
	line := strings.Repeat("x", 70) + "\r\n"
	filler := strings.Repeat(line, size/len(line)+1)

	start := time.Now()
	var group sync.WaitGroup
	for connection := 0; connection < connections; connection++ {
		group.Add(1)
		go func(connection int) {
			defer group.Done()
			client, err := smtp.Dial(server)
			must(err)
			must(client.Hello("client.example"))
			for number := connection; number < mails; number += connections {
				head := fmt.Sprintf("Message-ID: <%d.%d@posthaste.example>\r\nFrom: <%s>\r\nTo: <%s>\r\n\r\n", run, 1000000000+number, from, to)
				must(client.Mail(from))
				must(client.Rcpt(to))
				content, err := client.Data()
				must(err)
				_, err = content.Write([]byte(head + filler[:size-len(head)-2] + "\r\n"))
				must(err)
				must(content.Close())
			}
			must(client.Quit())
		}(connection)
	}
	group.Wait()
	fmt.Println(time.Since(start).Seconds())
}
