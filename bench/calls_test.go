package main

import "testing"

func TestStraceSummaryIsRead(t *testing.T) {
	const summary = `% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 45.45    0.123456          12      2500       500 recvfrom
 30.00    0.100000          11      2000           sendto
 10.00    0.050000          10       400           epoll_wait
  5.00    0.010000          10       700           clock_gettime
  1.00    0.001000           1         3           accept4
------ ----------- ----------- --------- --------- ----------------
100.00    0.284456          11      5603       500 total
`
	got, err := callsOf("haproxy", summary, 1000)
	want := callRow{Endpoint: "haproxy", Total: 5.603, Reads: 2.5, Empty: 0.5, Writes: 2, Waits: 0.4, Other: "0.7 clock_gettime"}
	if err != nil || figure(got.Total).format("%.3f") != "5.603" {
		t.Fatalf("got %+v and %v", got, err)
	}
	if got.Total = want.Total; got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if _, err := callsOf("haproxy", "strace: Process 1 attached\n", 1000); err == nil {
		t.Error("no summary was taken for one")
	}
}
