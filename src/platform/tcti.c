/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/tcti.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <tss2/tss2_tctildr.h>

#include "base/log.h"
#include "base/reader.h"
#include "base/str.h"
#include "platform/fiber.h"
#include "platform/tpm-device.h"

#define RESPONSE_MAX  4096 /* what the kernel's driver and tpm2-tss allow */
#define HEADER_SIZE   10   /* tag, size, response code: TPM 2.0 Library Part 1, 18.4 */
#define TCTI_MAGIC    0x73616c6c79706f72ULL
#define CONNECT_PAUSE (20 * USEC_PER_MSEC) /* between attempts while a backlog is full */

struct Tcti {
        TSS2_TCTI_CONTEXT_COMMON_V2 common; /* first: tpm2-tss casts */
        TSS2_TCTI_CONTEXT *foreign;
        char *config;
        struct sockaddr_storage address; /* of a socket: a name is looked up once, at start */
        socklen_t address_len;
        int fd;
        bool software; /* swtpm: we are alone with it, nobody manages its objects for us */
        bool broken;
        Loop *loop;
        LoopSource *deadline; /* of the wait under way on a fiber */
        bool abandoned;
        usec_t timeout;
        uint8_t response[RESPONSE_MAX];
        size_t have;
        Reason error;
};

/* One wait of one fiber for its descriptor. */
typedef struct Wait {
        Fiber *fiber;
        bool ready;
} Wait;

static int on_ready(int fd, unsigned events, void *userdata)
{
        Wait *w = userdata;
        w->ready = true;
        fiber_resume(w->fiber);
        return 0;
}

static int on_timeout(void *userdata)
{
        fiber_resume(((Wait *)userdata)->fiber);
        return 0;
}

/* `events` may be 0: only time passes. */
static int wait_on_loop(Tcti *t, unsigned events, usec_t deadline)
{
        Wait w = { .fiber = fiber_current() };
        _cleanup_(loop_source_freep) LoopSource *io = NULL, *timer = NULL;
        int r = events ? loop_add_io(t->loop, &io, t->fd, events, LOOP_FATAL, on_ready, &w) : 0;
        if (r < 0)
                return r;
        r = loop_add_timer(t->loop, &timer, LOOP_FATAL, on_timeout, &w);
        if (r < 0)
                return r;
        r = loop_timer_arm(timer, deadline);
        if (r < 0)
                return r;
        t->deadline = timer;
        fiber_yield();
        t->deadline = NULL;
        return w.ready ? 0 : -ETIMEDOUT;
}

static int wait_in_poll(int fd, short events, usec_t deadline)
{
        for (;;) {
                usec_t now = now_boottime();
                if (now >= deadline)
                        return -ETIMEDOUT;
                usec_t left = MIN(deadline - now, TCTI_ANSWER_TIMEOUT);
                struct pollfd p = { .fd = fd, .events = events };
                int r = poll(&p, 1, (int)(left / USEC_PER_MSEC) + 1);
                if (r > 0)
                        return 0;
                if (r < 0 && errno != EINTR)
                        return -errno;
        }
}

static int wait_ready(Tcti *t, bool to_write, usec_t deadline)
{
        if (t->abandoned)
                return -ETIMEDOUT;
        if (t->loop && fiber_current())
                return wait_on_loop(t, to_write ? LOOP_WRITE : LOOP_READ, deadline);
        return wait_in_poll(t->fd, to_write ? POLLOUT : POLLIN, deadline);
}

/* Where a command or an answer stops in the middle, nobody knows what the next bytes mean. */
static TSS2_RC give_up(Tcti *t, int error)
{
        t->broken = true;
        if (error == -ETIMEDOUT)
                reason_set(&t->error, error, "the TPM did not answer in time%s",
                           t->software ? " (a software TPM serves one program at a time)" : "");
        else if (error == -ECONNRESET)
                reason_set(&t->error, error, "the TPM closed the connection");
        else if (error == -EPROTO)
                reason_set(&t->error, error, "the TPM sent an answer of impossible size");
        else
                reason_set(&t->error, error, "the TPM cannot be reached: %s", strerror(-error));
        return TSS2_TCTI_RC_IO_ERROR;
}

static TSS2_RC tcti_transmit(TSS2_TCTI_CONTEXT *context, size_t size, const uint8_t *command)
{
        Tcti *t = (Tcti *)context;
        if (t->broken)
                return TSS2_TCTI_RC_IO_ERROR;
        t->have = 0;
        usec_t deadline = usec_add(now_boottime(), t->timeout);
        for (size_t sent = 0; sent < size;) {
                ssize_t n = send(t->fd, command + sent, size - sent, MSG_NOSIGNAL);
                if (n >= 0) {
                        sent += (size_t)n;
                        continue;
                }
                int r = errno == EAGAIN ? wait_ready(t, true, deadline) : -errno;
                if (r < 0 && r != -EINTR)
                        return give_up(t, r == -EPIPE ? -ECONNRESET : r);
        }
        return TSS2_RC_SUCCESS;
}

/* Size of the whole answer by its header; -EAGAIN before the header is there. */
static int response_size(const Tcti *t, size_t *ret)
{
        if (t->have < HEADER_SIZE)
                return -EAGAIN;
        Reader r = reader_new(BYTES(t->response, t->have));
        reader_skip(&r, 2);
        uint32_t size = reader_u32(&r);
        if (size < HEADER_SIZE || size > RESPONSE_MAX || t->have > size)
                return -EPROTO;
        *ret = size;
        return t->have == size ? 0 : -EAGAIN;
}

/* Reads on until the answer is whole. */
static int read_response(Tcti *t, usec_t deadline)
{
        size_t size = HEADER_SIZE;
        for (;;) {
                int r = response_size(t, &size);
                if (r != -EAGAIN)
                        return r;
                ssize_t n = read(t->fd, t->response + t->have, size - t->have);
                if (n == 0)
                        return -ECONNRESET;
                if (n > 0) {
                        t->have += (size_t)n;
                        continue;
                }
                r = errno == EAGAIN ? wait_ready(t, false, deadline) : -errno;
                if (r < 0 && r != -EINTR)
                        return r;
        }
}

static TSS2_RC tcti_receive(TSS2_TCTI_CONTEXT *context, size_t *size, uint8_t *response,
                            int32_t timeout)
{
        Tcti *t = (Tcti *)context;
        if (!response) { /* the caller asks how much room to bring */
                *size = RESPONSE_MAX;
                return TSS2_RC_SUCCESS;
        }
        if (t->broken)
                return TSS2_TCTI_RC_IO_ERROR;
        usec_t span = timeout < 0 ? t->timeout : (usec_t)timeout * USEC_PER_MSEC;
        int r = read_response(t, usec_add(now_boottime(), span));
        if (r == -ETIMEDOUT && timeout >= 0)
                return TSS2_TCTI_RC_TRY_AGAIN;
        if (r < 0)
                return give_up(t, r);
        if (*size < t->have)
                return TSS2_TCTI_RC_INSUFFICIENT_BUFFER;
        memcpy(response, t->response, t->have);
        *size = t->have;
        t->have = 0;
        t->error.text[0] = 0;
        return TSS2_RC_SUCCESS;
}

static TSS2_RC tcti_cancel(TSS2_TCTI_CONTEXT *context)
{
        return TSS2_TCTI_RC_NOT_IMPLEMENTED;
}

static TSS2_RC tcti_poll_handles(TSS2_TCTI_CONTEXT *context, TSS2_TCTI_POLL_HANDLE *handles,
                                 size_t *n)
{
        if (handles) {
                if (*n < 1)
                        return TSS2_TCTI_RC_INSUFFICIENT_BUFFER;
                handles[0] = (struct pollfd){ .fd = ((Tcti *)context)->fd, .events = POLLIN };
        }
        *n = 1;
        return TSS2_RC_SUCCESS;
}

static TSS2_RC tcti_locality(TSS2_TCTI_CONTEXT *context, uint8_t locality)
{
        return TSS2_TCTI_RC_NOT_IMPLEMENTED;
}

static void tcti_finalize(TSS2_TCTI_CONTEXT *context)
{
        /* tcti_free() does it. */
}

/* As long as a unix socket's backlog is full. */
static void pause_connecting(Tcti *t)
{
        if (t->loop && fiber_current())
                wait_on_loop(t, 0, usec_add(now_boottime(), CONNECT_PAUSE));
        else
                poll(NULL, 0, (int)(CONNECT_PAUSE / USEC_PER_MSEC));
}

/* A connect() that is under way, or a backlog that is full, may last for ever: bound both. */
static int connect_by(Tcti *t, usec_t deadline)
{
        while (connect(t->fd, (struct sockaddr *)&t->address, t->address_len) < 0) {
                if (errno == EINPROGRESS) {
                        int error = 0;
                        socklen_t size = sizeof(error);
                        int r = wait_ready(t, true, deadline);
                        if (r < 0)
                                return r;
                        return getsockopt(t->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0 ? -errno
                                                                                          : -error;
                }
                if (errno != EAGAIN && errno != EINTR)
                        return -errno;
                if (t->abandoned || now_boottime() >= deadline)
                        return -ETIMEDOUT;
                pause_connecting(t);
        }
        return 0;
}

static int connect_socket(Tcti *t)
{
        t->fd = socket(t->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (t->fd < 0)
                return -errno;
        return connect_by(t, usec_add(now_boottime(), TCTI_CONNECT_TIMEOUT));
}

static int find_unix(Tcti *t, const char *path)
{
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        if (isempty(path) || strlen(path) >= sizeof(a.sun_path))
                return -EINVAL;
        memcpy(a.sun_path, path, strlen(path) + 1);
        memcpy(&t->address, &a, sizeof(a));
        t->address_len = sizeof(a);
        return 0;
}

/* "host=H,port=P"; port 2321 when it is left out. */
static int find_tcp(Tcti *t, const char *config)
{
        char host[256] = "", port[8] = "2321";
        int used = 0;
        if (sscanf(config, "host=%255[^,]%n", host, &used) != 1)
                return -EINVAL;
        if (config[used]) {
                uint32_t number;
                const char *s = startswith(config + used, ",port=");
                if (!s || parse_u32(s, 1, UINT16_MAX, &number) < 0)
                        return -EINVAL;
                snprintf(port, sizeof(port), "%u", number);
        }
        struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list = NULL;
        if (getaddrinfo(host, port, &hints, &list) != 0)
                return -EHOSTUNREACH;
        memcpy(&t->address, list->ai_addr, list->ai_addrlen);
        t->address_len = list->ai_addrlen;
        freeaddrinfo(list);
        return 0;
}

/* Where it fails, tpm2-tss 4.1.3 leaves a context behind that its own Finalize does not know; other
 * versions leave NULL. */
static int open_foreign(Tcti *t, const char *config, Reason *reason)
{
        TSS2_RC rc = Tss2_TctiLdr_Initialize(config, &t->foreign);
        if (rc == TSS2_RC_SUCCESS)
                return 0;
        free(TAKE_PTR(t->foreign));
        return reason_set(reason, -EINVAL, "\"%s\" is no TCTI that can be opened (0x%x)", config,
                          rc);
}

/* Once: what the string means. */
static int find_socket(Tcti *t, const char *config)
{
        const char *path = startswith(config, "path=");
        return path ? find_unix(t, path) : find_tcp(t, config);
}

static int open_own(Tcti *t, Reason *reason)
{
        const char *device = startswith(t->config, "device:");
        int r = 0;
        if (!device && t->address_len == 0)
                r = find_socket(t, startswith(t->config, "swtpm:"));
        if (r == 0)
                r = device ? tpm_device_open(device, &t->fd) : connect_socket(t);
        if (r == -EINVAL)
                return reason_set(reason, r,
                                  "\"%s\" is not understood: device:PATH, swtpm:path=PATH or "
                                  "swtpm:host=HOST,port=PORT",
                                  t->config);
        if (r < 0)
                return reason_set(reason, r, "Cannot open the TPM at \"%s\": %s", t->config,
                                  strerror(-r));
        return 0;
}

bool tcti_broken(const Tcti *t)
{
        struct pollfd p = { .fd = t->fd, .events = POLLIN | POLLRDHUP };
        if (t->broken || t->foreign)
                return t->broken;
        return poll(&p, 1, 0) > 0; /* nobody has asked anything: it is the end */
}

int tcti_reconnect(Tcti *t, Reason *reason)
{
        closep(&t->fd);
        t->fd = -1;
        t->have = 0;
        t->error.text[0] = 0;
        int r = t->abandoned ? reason_set(reason, -ETIMEDOUT, "the TPM is not waited for any more")
                             : open_own(t, reason);
        t->broken = r < 0;
        if (r < 0)
                t->error = *reason;
        return r;
}

int tcti_new(const char *config, Tcti **ret, Reason *reason)
{
        _cleanup_(tcti_freep) Tcti *t = calloc(1, sizeof(*t));
        if (!t)
                return reason_set(reason, -ENOMEM, "Out of memory");
        t->fd = -1;
        t->timeout = TCTI_ANSWER_TIMEOUT;
        t->common.v1 = (TSS2_TCTI_CONTEXT_COMMON_V1){
                .magic = TCTI_MAGIC,
                .version = 2,
                .transmit = tcti_transmit,
                .receive = tcti_receive,
                .finalize = tcti_finalize,
                .cancel = tcti_cancel,
                .getPollHandles = tcti_poll_handles,
                .setLocality = tcti_locality,
        };
        if (!(t->config = strdup(config)))
                return reason_set(reason, -ENOMEM, "Out of memory");
        bool own = startswith(config, "device:") || startswith(config, "swtpm:");
        t->software = startswith(config, "swtpm:");
        int r = own ? open_own(t, reason) : open_foreign(t, config, reason);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(t);
        return 0;
}

Tcti *tcti_free(Tcti *t)
{
        if (!t)
                return NULL;
        if (t->foreign)
                Tss2_TctiLdr_Finalize(&t->foreign);
        if (t->fd >= 0)
                close(t->fd);
        free(t->config);
        free(t);
        return NULL;
}

void tcti_attach(Tcti *t, Loop *loop)
{
        t->loop = loop;
}

void tcti_abandon(Tcti *t)
{
        t->abandoned = true;
        if (t->deadline)
                loop_timer_arm(t->deadline, 0);
}

void tcti_set_timeout(Tcti *t, usec_t timeout)
{
        t->timeout = timeout;
}

TSS2_TCTI_CONTEXT *tcti_context(Tcti *t)
{
        return t->foreign ? t->foreign : (TSS2_TCTI_CONTEXT *)t;
}

bool tcti_is_software(const Tcti *t)
{
        return t->software;
}

bool tcti_is_foreign(const Tcti *t)
{
        return t->foreign;
}

const char *tcti_error(const Tcti *t)
{
        return t->error.text;
}
