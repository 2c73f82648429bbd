/* The fastest upstream that still speaks the protocol: one thread, epoll, HTTP/1.1 with keep-alive.
 *
 *   mock PORT
 *
 * POST anything with a body in the OpenAI protocol. The model's name says how to answer: `mock` at once,
 * `mock-d50` after 50 ms, `mock-d5-i10-n20` streams 20 events, 10 ms apart, the first after 5 ms. With "stream":true
 * an answer is server-sent events, each an HTTP chunk of its own, and `data: [DONE]` at the end.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { INPUT = 1 << 17, MAX_FD = 65536 };

typedef struct {
  char *in;
  size_t have, need; /* bytes that are there; bytes of the request being read, 0 while its head is not whole */
  char *out;         /* what the socket did not take */
  size_t out_len;
  int chunks, interval_us, stream, busy;
  int heap_at; /* place in the heap of timers, -1 where there is none */
  long long due_ns;
} Conn;

static Conn *conns[MAX_FD];
static int heap[MAX_FD], heap_len, ep;

static const char ANSWER[] =
    "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"mock\",\"choices\":[{"
    "\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"The quick brown fox jumps over the lazy dog, and "
    "then it does so once more, since one jump is never enough for a fox that is as quick and as brown as this "
    "one.\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":42,\"completion_tokens\":40,"
    "\"total_tokens\":82}}";
static const char EVENT[] =
    "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"mock\","
    "\"choices\":[{\"index\":0,\"delta\":{\"content\":\" word\"},\"finish_reason\":null}]}\n\n";
static const char LAST[] =
    "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"mock\","
    "\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":42,"
    "\"completion_tokens\":20,\"total_tokens\":62}}\n\n";
static const char DONE[] = "data: [DONE]\n\n";
static const char STREAM_HEAD[] =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

static long long now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void put(int at, int fd) {
  heap[at] = fd;
  conns[fd]->heap_at = at;
}
static void up(int at) {
  int fd = heap[at];
  while (at > 0 && conns[heap[(at - 1) / 2]]->due_ns > conns[fd]->due_ns) put(at, heap[(at - 1) / 2]), at = (at - 1) / 2;
  put(at, fd);
}
static void down(int at) {
  int fd = heap[at];
  for (;;) {
    int kid = 2 * at + 1;
    if (kid >= heap_len) break;
    if (kid + 1 < heap_len && conns[heap[kid + 1]]->due_ns < conns[heap[kid]]->due_ns) kid++;
    if (conns[heap[kid]]->due_ns >= conns[fd]->due_ns) break;
    put(at, heap[kid]);
    at = kid;
  }
  put(at, fd);
}
static void arm(int fd, long long due) {
  conns[fd]->due_ns = due;
  put(heap_len, fd);
  up(heap_len++);
}
static void disarm(int fd) {
  int at = conns[fd]->heap_at;
  if (at < 0) return;
  conns[fd]->heap_at = -1;
  int moved = heap[--heap_len];
  if (at == heap_len) return;
  put(at, moved);
  up(at);
  down(conns[moved]->heap_at);
}

static void drop(int fd) {
  disarm(fd);
  free(conns[fd]->in);
  free(conns[fd]->out);
  free(conns[fd]);
  conns[fd] = NULL;
  close(fd);
}

static int send_all(int fd, const char *data, size_t size) {
  Conn *c = conns[fd];
  if (!c->out_len) {
    ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) return -1;
    if (sent > 0) data += sent, size -= (size_t)sent;
    if (!size) return 0;
  }
  c->out = realloc(c->out, c->out_len + size);
  memcpy(c->out + c->out_len, data, size);
  c->out_len += size;
  struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.fd = fd};
  return epoll_ctl(ep, EPOLL_CTL_MOD, fd, &e);
}

static int chunk(int fd, const char *data, size_t size) {
  char framed[1024];
  int n = snprintf(framed, sizeof framed, "%zx\r\n%s\r\n", size, data);
  return send_all(fd, framed, (size_t)n);
}

static int answer(int fd) {
  char head[sizeof ANSWER + 128];
  int n = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n%s",
                   sizeof ANSWER - 1, ANSWER);
  conns[fd]->busy = 0;
  return send_all(fd, head, (size_t)n);
}

static int fire(int fd) {
  Conn *c = conns[fd];
  if (!c->stream) return answer(fd);
  if (c->chunks > 1) {
    c->chunks--;
    if (chunk(fd, EVENT, sizeof EVENT - 1)) return -1;
    arm(fd, c->due_ns + c->interval_us * 1000LL);
    return 0;
  }
  c->busy = 0;
  char end[2048];
  int n = snprintf(end, sizeof end, "%zx\r\n%s\r\n%zx\r\n%s\r\n0\r\n\r\n", sizeof LAST - 1, LAST, sizeof DONE - 1, DONE);
  return send_all(fd, end, (size_t)n);
}

static int number(const char *name, const char *end, char key, int otherwise) {
  for (const char *at = name; at + 1 < end; at++)
    if (at[0] == '-' && at[1] == key) return atoi(at + 2);
  return otherwise;
}

static int serve(int fd, char *body, size_t size) {
  Conn *c = conns[fd];
  char *name = memmem(body, size, "\"model\":", 8), *end = body + size;
  name = name ? memchr(name + 8, '"', (size_t)(end - name) - 8) : NULL;
  char *stop = name ? memchr(name + 1, '"', (size_t)(end - name) - 1) : NULL;
  if (!stop) name = stop = end;
  char *flag = memmem(body, size, "\"stream\":", 9);
  c->stream = flag && flag + 9 < end && (flag[9] == 't' || flag[10] == 't');
  int delay_ms = number(name, stop, 'd', 0);
  c->interval_us = number(name, stop, 'i', 0) * 1000;
  c->chunks = number(name, stop, 'n', 20);
  c->busy = 1;
  if (c->stream && send_all(fd, STREAM_HEAD, sizeof STREAM_HEAD - 1)) return -1;
  if (!delay_ms && !c->stream) return answer(fd);
  arm(fd, now_ns() + delay_ms * 1000000LL);
  return 0;
}

static int readable(int fd) {
  Conn *c = conns[fd];
  ssize_t got = recv(fd, c->in + c->have, INPUT - c->have - 1, 0);
  if (got == 0 || (got < 0 && errno != EAGAIN)) return -1;
  if (got < 0) return 0;
  c->have += (size_t)got;
  c->in[c->have] = 0;
  for (;;) {
    if (c->busy) return 0;
    char *blank = memmem(c->in, c->have, "\r\n\r\n", 4);
    if (!blank) return c->have + 1 < INPUT ? 0 : -1;
    size_t head = (size_t)(blank - c->in) + 4;
    char *length = strcasestr(c->in, "\ncontent-length:");
    size_t body = length && length < blank ? (size_t)atol(length + 16) : 0;
    if (head + body + 1 > INPUT) return -1;
    if (c->have < head + body) return 0;
    if (serve(fd, c->in + head, body)) return -1;
    c->have -= head + body;
    memmove(c->in, c->in + head + body, c->have);
    if (!c->have) return 0;
  }
}

static int writable(int fd) {
  Conn *c = conns[fd];
  ssize_t sent = send(fd, c->out, c->out_len, MSG_NOSIGNAL);
  if (sent < 0) return errno == EAGAIN ? 0 : -1;
  c->out_len -= (size_t)sent;
  memmove(c->out, c->out + sent, c->out_len);
  if (c->out_len) return 0;
  struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
  return epoll_ctl(ep, EPOLL_CTL_MOD, fd, &e);
}

int main(int argc, char **argv) {
  if (argc != 2) return fprintf(stderr, "usage: mock PORT\n"), 2;
  signal(SIGPIPE, SIG_IGN);
  int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[1])),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) return perror("mock"), 1;
  ep = epoll_create1(0);
  struct epoll_event e = {.events = EPOLLIN, .data.fd = listener}, events[512];
  epoll_ctl(ep, EPOLL_CTL_ADD, listener, &e);
  for (;;) {
    long long wait = heap_len ? conns[heap[0]]->due_ns - now_ns() : 1000000000LL;
    struct timespec timeout = {wait > 0 ? wait / 1000000000 : 0, wait > 0 ? wait % 1000000000 : 0};
    int n = epoll_pwait2(ep, events, 512, &timeout, NULL);
    for (int i = 0; i < n; i++) {
      int fd = events[i].data.fd;
      if (fd == listener) {
        for (int client; (client = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
          if (client >= MAX_FD) { close(client); continue; }
          setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
          conns[client] = calloc(1, sizeof(Conn));
          conns[client]->in = malloc(INPUT);
          conns[client]->heap_at = -1;
          e.events = EPOLLIN, e.data.fd = client;
          epoll_ctl(ep, EPOLL_CTL_ADD, client, &e);
        }
        continue;
      }
      int bad = 0;
      if (conns[fd] && (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))) bad = readable(fd);
      if (conns[fd] && !bad && (events[i].events & EPOLLOUT)) bad = writable(fd);
      if (conns[fd] && bad) drop(fd);
    }
    long long now = now_ns();
    while (heap_len && conns[heap[0]]->due_ns <= now) {
      int fd = heap[0];
      disarm(fd);
      if (fire(fd)) drop(fd);
    }
  }
}
