/* SPDX-License-Identifier: GPL-3.0-or-later */
/* libcurl's multi interface on the loop, and on a fiber where the TPM may have to sign. */
#include "platform/http.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "platform/fiber.h"
#include "platform/http-internal.h"

static void unwatch(Http *h)
{
        for (size_t i = 0; i < HTTP_SOCKETS_MAX; i++)
                h->sockets[i].source = loop_source_free(h->sockets[i].source);
}

static void destroy(Http *h)
{
        if (h->added)
                curl_multi_remove_handle(h->multi, h->easy);
        curl_easy_cleanup(h->easy);
        curl_multi_cleanup(h->multi);
        unwatch(h);
        curl_slist_free_all(h->headers);
        curl_slist_free_all(h->addresses);
        credential_unref(h->credential);
        buf_done(&h->body);
        free(h->body_out);
        free(h->url);
        free(h->host);
        free(h->ca);
        free(h);
}

Http *http_cancel(Http *h)
{
        if (!h)
                return NULL;
        unwatch(h);
        h->resolve = resolve_cancel(h->resolve);
        h->timer = loop_source_free(h->timer);
        h->deadline = loop_source_free(h->deadline);
        h->report = loop_source_free(h->report);
        h->abandoned = true;
        if (!h->busy)
                destroy(h);
        return NULL;
}

static int on_report(void *userdata)
{
        Http *h = userdata;
        HttpAnswer answer = { .reason = h->reason.text, .type = "", .etag = "", .modified = "" };
        http_explain(h);
        if (!h->reason.text[0])
                http_read_answer(h, &answer);
        h->done(&answer, h->userdata);
        http_cancel(h);
        return 0;
}

/* Of our own accord: what libcurl is doing is of no interest any more. */
static void fail(Http *h, const char *what, const char *why)
{
        if (h->finished)
                return;
        h->finished = true;
        unwatch(h);
        loop_timer_disarm(h->timer);
        reason_set(&h->reason, 0, "%s%s", what, why);
        loop_defer(h->report);
}

static int on_deadline(void *userdata)
{
        Http *h = userdata;
        fail(h, "no answer in time from ", h->host);
        return 0;
}

static void act(Http *h, curl_socket_t fd, int events);

static int on_io(int fd, unsigned events, void *userdata)
{
        act(userdata, fd,
            (events & (LOOP_READ | LOOP_HANGUP) ? CURL_CSELECT_IN : 0) |
                    (events & LOOP_WRITE ? CURL_CSELECT_OUT : 0) |
                    (events & LOOP_ERROR ? CURL_CSELECT_ERR : 0));
        return 0;
}

static int watch(Http *h, HttpSocket *s)
{
        if (s->wanted == CURL_POLL_REMOVE || s->source)
                return 0;
        unsigned events = (s->wanted & CURL_POLL_IN ? (unsigned)LOOP_READ : 0) |
                          (s->wanted & CURL_POLL_OUT ? (unsigned)LOOP_WRITE : 0);
        return loop_add_io(h->loop, &s->source, s->fd, events, LOOP_PEER, on_io, h);
}

/* After each call: what does it wait for, is it done? */
static void settle(Http *h)
{
        int left;
        if (h->finished)
                return;
        for (size_t i = 0; i < HTTP_SOCKETS_MAX; i++)
                if (watch(h, &h->sockets[i]) < 0) {
                        fail(h, "cannot watch the connection to ", h->host);
                        return;
                }
        if (h->timer_due) {
                h->timer_due = false;
                loop_timer_arm_relative(h->timer, 0);
        }
        const CURLMsg *m = curl_multi_info_read(h->multi, &left);
        if (!m || m->msg != CURLMSG_DONE)
                return;
        h->finished = true;
        h->result = m->data.result;
        loop_defer(h->report);
}

/* The request may be cancelled while a call waits: then this is the last to see it. */
static void run_action(void *userdata)
{
        Http *h = userdata;
        int running;
        CURLMcode code =
                curl_multi_socket_action(h->multi, h->action_fd, h->action_events, &running);
        h->busy = false;
        if (h->abandoned)
                destroy(h);
        else if (code != CURLM_OK)
                fail(h, "", curl_multi_strerror(code));
        else
                settle(h);
}

static void act(Http *h, curl_socket_t fd, int events)
{
        if (h->busy || h->finished)
                return;
        h->action_fd = fd;
        h->action_events = events;
        h->busy = true;
        if (!h->credential || !credential_in_tpm(h->credential)) {
                run_action(h);
                return;
        }
        if (fiber_spawn(run_action, h) < 0) {
                h->busy = false;
                fail(h, "no memory for the TLS handshake", "");
                return;
        }
        /* Hang-ups are told even to who asks for no event: while the fiber waits nobody listens. */
        if (h->busy)
                unwatch(h);
}

static int on_timer(void *userdata)
{
        Http *h = userdata;
        if (h->busy)
                h->timer_due = true;
        else
                act(h, CURL_SOCKET_TIMEOUT, 0);
        return 0;
}

/* Called by the library, perhaps on a fiber. It asks for no socket any more before it closes it. */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *userdata, void *socket_data)
{
        Http *h = userdata;
        HttpSocket *place = NULL;
        for (size_t i = 0; i < HTTP_SOCKETS_MAX; i++) {
                HttpSocket *s = &h->sockets[i];
                if (s->wanted != CURL_POLL_REMOVE && s->fd == fd)
                        place = s;
                else if (!place && s->wanted == CURL_POLL_REMOVE)
                        place = s;
        }
        if (!place)
                return what == CURL_POLL_REMOVE ? 0 : -1;
        if (place->wanted == CURL_POLL_REMOVE && what == CURL_POLL_REMOVE)
                return 0;
        place->source = loop_source_free(place->source);
        place->fd = fd;
        place->wanted = what;
        return 0;
}

static int on_curl_timer(CURLM *multi, long ms, void *userdata)
{
        Http *h = userdata;
        if (!h->timer)
                return 0;
        if (ms < 0)
                loop_timer_disarm(h->timer);
        else
                loop_timer_arm_relative(h->timer, (usec_t)ms * USEC_PER_MSEC);
        return 0;
}

/* "HOST:PORT:ADDRESS,ADDRESS": libcurl needs no resolver then. Neither does it for an address in
 * digits, which one of IPv6 could not be written there. */
static bool give_addresses(Http *h, const struct sockaddr_storage *addresses, size_t n)
{
        char host[NI_MAXHOST];
        _cleanup_buf_ Buf text = BUF_INIT((size_t)8192);
        if (strchr(h->host, ':'))
                return true;
        if (buf_printf(&text, "%s:%u:", h->host, h->port) < 0)
                return false;
        for (size_t i = 0; i < n; i++) {
                const struct sockaddr *a = (const struct sockaddr *)&addresses[i];
                bool v6 = a->sa_family == AF_INET6;
                if (getnameinfo(a, sizeof(addresses[i]), host, sizeof(host), NULL, 0,
                                NI_NUMERICHOST) != 0 ||
                    buf_printf(&text, v6 ? "%s[%s]" : "%s%s", i > 0 ? "," : "", host) < 0)
                        return false;
        }
        if (buf_append_u8(&text, 0) < 0)
                return false;
        h->addresses = curl_slist_append(NULL, (const char *)buf_view(&text).data);
        return h->addresses && curl_easy_setopt(h->easy, CURLOPT_RESOLVE, h->addresses) == CURLE_OK;
}

static void on_resolved(int error, const char *reason, const struct sockaddr_storage *addresses,
                        size_t n, void *userdata)
{
        Http *h = userdata;
        char what[300];
        h->resolve = NULL;
        if (error < 0) {
                snprintf(what, sizeof(what), "cannot find the address of %.200s: ", h->host);
                fail(h, what, reason);
        } else if (!give_addresses(h, addresses, n) ||
                   curl_multi_add_handle(h->multi, h->easy) != CURLM_OK) {
                fail(h, "no memory for a request", "");
        } else {
                h->added = true;
        }
}

static int prepare(Http *h)
{
        h->multi = curl_multi_init();
        if (!h->multi || curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, on_socket) ||
            curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h) ||
            curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer) ||
            curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h))
                return -ENOMEM;
        int r = loop_add_timer(h->loop, &h->timer, LOOP_PEER, on_timer, h);
        if (r == 0)
                r = loop_add_timer(h->loop, &h->deadline, LOOP_PEER, on_deadline, h);
        if (r == 0)
                r = loop_timer_arm_relative(h->deadline, h->timeout);
        if (r == 0)
                r = loop_add_deferred(h->loop, &h->report, LOOP_PEER, on_report, h);
        if (r == 0)
                r = resolve_start(h->loop, h->host, h->port, on_resolved, h, &h->resolve);
        return r;
}

int http_start(Loop *l, const HttpRequest *request, HttpDone done, void *userdata, Http **ret,
               Reason *reason)
{
        Http *h = calloc(1, sizeof(*h));
        if (!h)
                return reason_set(reason, -ENOMEM, "Out of memory");
        h->loop = l;
        h->done = done;
        h->userdata = userdata;
        for (size_t i = 0; i < HTTP_SOCKETS_MAX; i++)
                h->sockets[i].wanted = CURL_POLL_REMOVE;
        int r = http_describe(h, request, reason);
        if (r == 0) {
                r = prepare(h);
                if (r < 0)
                        reason_set(reason, r, "Cannot begin a request: %s", strerror(-r));
        }
        if (r < 0) {
                http_cancel(h);
                return r;
        }
        *ret = h;
        return 0;
}
