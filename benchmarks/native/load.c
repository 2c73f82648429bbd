/* Load on one HTTP endpoint: one thread, epoll, keep-alive, answers checked.
 *
 *   load HOST PORT REQUEST-FILE SECONDS closed CONNECTIONS          requests one after the other on each connection
 *   load HOST PORT REQUEST-FILE SECONDS open PER-SECOND SEED        Poisson arrivals; latency from the scheduled time
 *   load HOST PORT REQUEST-FILE SECONDS stream CONNECTIONS          streams one after the other; counts their events
 *   load HOST PORT REQUEST-FILE SECONDS hold CONNECTIONS            opens streams and holds them
 *
 * REQUEST-FILE holds the whole request, head and body. Prints one line of JSON: count, errors, per_s, events_per_s,
 * milliseconds p50, p99 of whole answers and of first bytes of bodies, and held: answers that had begun at the end.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { INPUT = 1 << 18, MAX_CONNS = 16384, MAX_SAMPLES = 4 << 20 };

typedef struct {
  int fd, busy, seen_body, status;
  long long began;
  char *in;
  size_t have, head, length; /* head: bytes of the head once it is whole; length: of the body, (size_t)-1 if chunked */
} Conn;

static Conn conns[MAX_CONNS];
static int used, idle[MAX_CONNS], idle_len, ep, streaming;
static struct sockaddr_in address;
static char *request;
static size_t request_len;
static long long done, errors, events_seen, queued[1 << 16];
static unsigned queue_head, queue_tail;
static float *whole_ms, *first_ms;
static size_t whole_n, first_n;

static long long now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void sample(float *into, size_t *count, long long since) {
  if (*count < MAX_SAMPLES) into[(*count)++] = (float)((double)(now_ns() - since) / 1e6);
}

static int open_conn(int slot) {
  Conn *c = &conns[slot];
  int on = 1;
  c->fd = socket(AF_INET, SOCK_STREAM, 0);
  if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address)) return -1;
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (!c->in) c->in = malloc(INPUT);
  c->have = c->head = 0;
  c->busy = 0;
  struct epoll_event e = {.events = EPOLLIN, .data.u32 = (unsigned)slot};
  return epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e);
}

static void start(int slot, long long at) {
  Conn *c = &conns[slot];
  c->busy = 1;
  c->seen_body = 0;
  c->began = at;
  size_t sent = 0;
  while (sent < request_len) {
    ssize_t n = send(c->fd, request + sent, request_len - sent, MSG_NOSIGNAL);
    if (n <= 0) return;
    sent += (size_t)n;
  }
}

static void again(int slot) {
  close(conns[slot].fd);
  errors++;
  if (open_conn(slot)) perror("load: connect"), exit(3);
}

static void finished(Conn *c, int good) {
  done++;
  if (!good) errors++;
  sample(whole_ms, &whole_n, c->began);
  c->busy = 0;
  c->have = c->head = 0;
}

static size_t count(const char *data, size_t size, const char *what, size_t n) {
  size_t found = 0;
  for (const char *at = data; (at = memmem(at, size - (size_t)(at - data), what, n)); at += n) found++;
  return found;
}

/* Returns 1 where the answer is over, 0 where more must come, -1 where the connection ended. */
static int readable(Conn *c) {
  ssize_t got = recv(c->fd, c->in + c->have, INPUT - c->have - 1, MSG_DONTWAIT);
  if (got == 0 || (got < 0 && errno != EAGAIN)) return -1;
  if (got < 0) return 0;
  if (!c->busy) return -1;
  size_t fresh = c->have > 7 ? c->have - 7 : 0; /* so that a pattern which was cut is seen, and none twice */
  c->have += (size_t)got;
  c->in[c->have] = 0;
  if (!c->head) {
    char *blank = memmem(c->in, c->have, "\r\n\r\n", 4);
    if (!blank) return 0;
    c->head = (size_t)(blank - c->in) + 4;
    c->status = atoi(c->in + 9);
    *blank = 0;
    char *length = strcasestr(c->in, "\ncontent-length:");
    c->length = length ? (size_t)atol(length + 16) : (size_t)-1;
    *blank = '\r';
    fresh = c->head;
  }
  if (c->have > c->head && !c->seen_body) {
    c->seen_body = 1;
    sample(first_ms, &first_n, c->began);
  }
  if (c->length != (size_t)-1) {
    if (c->have < c->head + c->length) return 0;
    finished(c, c->status == 200 && c->have == c->head + c->length);
    return 1;
  }
  if (fresh < c->head) fresh = c->head;
  if (streaming) events_seen += (long long)count(c->in + fresh, c->have - fresh, "\ndata: {", 8) ;
  if (c->have - c->head >= 5 && !memcmp(c->in + c->have - 5, "0\r\n\r\n", 5)) {
    finished(c, c->status == 200 && (!streaming || memmem(c->in + (fresh > 64 ? fresh - 64 : 0), c->have - (fresh > 64 ? fresh - 64 : 0), "[DONE]", 6) != NULL));
    return 1;
  }
  if (c->have > INPUT / 2) { /* keep the end only: what was counted is not needed any more */
    memmove(c->in + c->head, c->in + c->have - 64, 64);
    c->have = c->head + 64;
  }
  return 0;
}

static int by_size(const void *a, const void *b) {
  return (*(const float *)a > *(const float *)b) - (*(const float *)a < *(const float *)b);
}
static double cut(float *values, size_t n, double share) {
  return n ? (double)values[(size_t)((double)(n - 1) * share)] : 0;
}

int main(int argc, char **argv) {
  if (argc < 7) return fprintf(stderr, "usage: load HOST PORT REQUEST-FILE SECONDS closed|open|stream|hold N [SEED]\n"), 2;
  signal(SIGPIPE, SIG_IGN);
  address.sin_family = AF_INET;
  address.sin_port = htons((unsigned short)atoi(argv[2]));
  inet_pton(AF_INET, argv[1], &address.sin_addr);
  FILE *file = fopen(argv[3], "rb");
  if (!file) return perror(argv[3]), 2;
  request = malloc(1 << 20);
  request_len = fread(request, 1, 1 << 20, file);
  double seconds = atof(argv[4]);
  int open_loop = !strcmp(argv[5], "open"), hold = !strcmp(argv[5], "hold");
  streaming = hold || !strcmp(argv[5], "stream");
  double n = atof(argv[6]);
  srand48(argc > 7 ? atol(argv[7]) : 1);
  whole_ms = malloc(sizeof(float) * MAX_SAMPLES);
  first_ms = malloc(sizeof(float) * MAX_SAMPLES);
  ep = epoll_create1(0);
  int wanted = open_loop ? 64 : (int)n;
  if (wanted > MAX_CONNS) wanted = MAX_CONNS;
  for (; used < wanted; used++) {
    if (open_conn(used)) return perror("load: connect"), 3;
    if (open_loop) idle[idle_len++] = used;
  }
  long long began = now_ns(), end = began + (long long)(seconds * 1e9), next = began;
  if (!open_loop)
    for (int slot = 0; slot < used; slot++) start(slot, now_ns());
  struct epoll_event events[512];
  for (;;) {
    long long now = now_ns();
    if (now >= end && (!open_loop || queue_head == queue_tail)) {
      int busy = 0;
      if (open_loop)
        for (int slot = 0; slot < used; slot++) busy |= conns[slot].busy;
      if (!busy || now > end + 5000000000LL) break;
    }
    if (open_loop) {
      while (next <= now && next < end) {
        queued[queue_tail++ & 0xffff] = next;
        next += (long long)(-log(1 - drand48()) / n * 1e9);
      }
      while (queue_head != queue_tail) {
        if (!idle_len && used < 4096) {
          if (open_conn(used)) return perror("load: connect"), 3;
          idle[idle_len++] = used++;
        }
        if (!idle_len) break;
        start(idle[--idle_len], queued[queue_head++ & 0xffff]);
      }
    }
    long long until = open_loop && next < end ? next : end;
    long long wait = until - now_ns();
    if (wait < 0) wait = open_loop && now < end ? 0 : 1000000;
    struct timespec timeout = {wait / 1000000000, wait % 1000000000};
    int got = epoll_pwait2(ep, events, 512, &timeout, NULL);
    for (int i = 0; i < got; i++) {
      int slot = (int)events[i].data.u32, state = readable(&conns[slot]);
      if (state < 0) again(slot);
      if (state == 0) continue;
      if (open_loop) idle[idle_len++] = slot;
      else if (now_ns() < end && !hold) start(slot, now_ns());
    }
  }
  double took = (double)(now_ns() - began) / 1e9;
  long long held = 0; /* answers that have begun and not ended */
  for (int slot = 0; slot < used; slot++) held += conns[slot].busy && conns[slot].head && conns[slot].status == 200;
  if (!open_loop) took = took < seconds ? took : seconds;
  qsort(whole_ms, whole_n, sizeof(float), by_size);
  qsort(first_ms, first_n, sizeof(float), by_size);
  printf("{\"count\":%lld,\"errors\":%lld,\"per_s\":%.1f,\"events_per_s\":%.1f,\"p50_ms\":%.3f,\"p99_ms\":%.3f,"
         "\"first_p50_ms\":%.3f,\"first_p99_ms\":%.3f,\"held\":%lld}\n",
         done, errors, (double)done / took, (double)events_seen / took, cut(whole_ms, whole_n, .5),
         cut(whole_ms, whole_n, .99), cut(first_ms, first_n, .5), cut(first_ms, first_n, .99), held);
}
