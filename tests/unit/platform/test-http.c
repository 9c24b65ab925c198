/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "../unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-event.h>

#include "../broker.h"
#include "base/str.h"
#include "platform/http.h"

typedef struct Fixture {
        Broker web;
        Loop *loop;
        unsigned done;
        bool answered;
        unsigned status;
        char reason[512], type[64], etag[64], modified[64], body[4096];
        size_t body_len;
        usec_t retry_after;
} Fixture;

static void on_done(const HttpAnswer *a, void *userdata)
{
        Fixture *f = userdata;
        f->done++;
        f->answered = a->answered;
        f->status = a->status;
        f->body_len = a->body.len;
        f->retry_after = a->retry_after;
        snprintf(f->reason, sizeof(f->reason), "%s", a->reason);
        snprintf(f->type, sizeof(f->type), "%s", a->type);
        snprintf(f->etag, sizeof(f->etag), "%s", a->etag);
        snprintf(f->modified, sizeof(f->modified), "%s", a->modified);
        snprintf(f->body, sizeof(f->body), "%.*s", (int)MIN(a->body.len, (size_t)4000),
                 a->body.len > 0 ? (const char *)a->body.data : "");
}

static const char *url(const Fixture *f, const char *scheme, const char *host, const char *path)
{
        static char text[256];
        snprintf(text, sizeof(text), "%s://%s:%u%s", scheme, host, f->web.port, path);
        return text;
}

static HttpRequest request_for(const Fixture *f, const char *path)
{
        return (HttpRequest){ .url = url(f, "https", "127.0.0.1", path),
                              .ca = f->web.ca,
                              .maximum = 4096,
                              .timeout = 10 * USEC_PER_SEC };
}

static void turn(Fixture *f, usec_t longest)
{
        usec_t until = now_boottime() + longest;
        while (f->done == 0 && now_boottime() < until)
                sd_event_run(loop_sd_event(f->loop), 20 * USEC_PER_MSEC);
}

static void run(Fixture *f, const HttpRequest *r)
{
        Http *h;
        Reason reason = { "" };
        f->done = 0;
        if (http_start(f->loop, r, on_done, f, &h, &reason) < 0)
                fail_msg("%s", reason.text);
        turn(f, 20 * USEC_PER_SEC);
        assert_int_equal(f->done, 1);
}

static void get(Fixture *f, const char *path, unsigned status)
{
        HttpRequest r = request_for(f, path);
        run(f, &r);
        if (!f->answered)
                fail_msg("%s: %s", path, f->reason);
        assert_int_equal(f->status, status);
}

static void get_fails(Fixture *f, const HttpRequest *r, const char *words)
{
        run(f, r);
        if (f->answered || !strstr(f->reason, words))
                fail_msg("%s: \"%s\", not \"%s\"", r->url, f->reason, words);
}

static void answers(void **state)
{
        Fixture *f = *state;
        get(f, "/ok", 200);
        assert_string_equal(f->body, "hello\n");
        assert_string_equal(f->type, "text/plain");
        assert_string_equal(f->etag, "\"v1\"");
        HttpRequest r = request_for(f, "/ok");
        r.etag = f->etag;
        run(f, &r);
        assert_int_equal(f->status, 304);
        get(f, "/dated", 200);
        r = request_for(f, "/dated");
        r.modified = f->modified;
        run(f, &r);
        assert_int_equal(f->status, 304);
        get(f, "/empty", 204);
        assert_int_equal(f->body_len, 0);
        get(f, "/chunked", 200);
        assert_string_equal(f->body, "hello!\n");
        get(f, "/unbounded", 200);
        assert_string_equal(f->body, "until the end");
        get(f, "/later", 202);
        assert_int_equal(f->retry_after, 7 * USEC_PER_SEC);
        get(f, "/nowhere", 404);
        assert_string_equal(f->body, "there is nothing here\n");
}

static void posts(void **state)
{
        Fixture *f = *state;
        HttpRequest r = request_for(f, "/ok");
        r.post = true;
        r.body = BYTES_LITERAL("the-body");
        r.content_type = "application/pkcs10";
        r.accept = "application/pkcs7-mime";
        r.user = "gw:se:cret";
        r.credential = broker_credential(&f->web, false);
        run(f, &r);
        credential_unref(r.credential);
        assert_int_equal(f->status, 200);
        /* base64 of gw:se:cret */
        file_wait(f->web.log, "POST /ok gw-1 ['Accept: application/pkcs7-mime', "
                              "'Authorization: Basic Z3c6c2U6Y3JldA==', 'Content-Type: "
                              "application/pkcs10', 'Host: 127.0.0.1:");
        file_wait(f->web.log, "] the-body");
}

/* What leads elsewhere is an answer like any other. */
static void redirects(void **state)
{
        Fixture *f = *state;
        get(f, "/redirect", 302);
        get(f, "/file", 302);
        get(f, "/unauthorized", 401);
}

static void hostile(void **state)
{
        Fixture *f = *state;
        static const struct {
                const char *path, *words;
        } cases[] = {
                { "/garbage", "HTTP/0.9" }, { "/half", "" },
                { "/negative", "" },        { "/huge-length", "more than 4096 bytes" },
                { "/bad-chunk", "" },       { "/headers", "head of the answer" },
                { "/close", "mpty reply" }, { "/endless", "more than 4096 bytes" },
        };
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                HttpRequest r = request_for(f, cases[i].path);
                get_fails(f, &r, cases[i].words);
                for (const char *c = f->reason; *c; c++)
                        assert_true((unsigned char)*c >= ' ');
                assert_true(f->reason[0]);
        }
        get(f, "/ok", 200);
}

static void slow(void **state)
{
        Fixture *f = *state;
        static const char *const paths[] = { "/slow", "/silent" };
        for (size_t i = 0; i < ELEMENTSOF(paths); i++) {
                HttpRequest r = request_for(f, paths[i]);
                r.timeout = 400 * USEC_PER_MSEC;
                usec_t begin = now_boottime();
                get_fails(f, &r, "no answer in time from 127.0.0.1");
                assert_true(now_boottime() - begin < 2 * USEC_PER_SEC);
        }
}

static void wrong_server(void **state)
{
        Fixture *f = *state;
        HttpRequest r = request_for(f, "/ok");
        r.ca = f->web.other_ca;
        get_fails(f, &r, "SSL certificate problem");
        r = request_for(f, "/ok");
        r.url = url(f, "https", "localhost", "/ok");
        get_fails(f, &r, "localhost");
        r = request_for(f, "/ok");
        r.ca = "/nonexistent/ca.pem";
        get_fails(f, &r, "cannot load the CA certificates in /nonexistent/ca.pem");
        r = request_for(f, "/ok");
        r.credential = broker_credential(&f->web, true);
        get_fails(f, &r, "refused the"); /* in an alert, or a guess when that was lost */
        credential_unref(r.credential);
}

static void nobody(void **state)
{
        Fixture *f = *state;
        char text[128];
        snprintf(text, sizeof(text), "https://127.0.0.1:%u/", free_port());
        HttpRequest r = request_for(f, "/ok");
        r.url = text;
        get_fails(f, &r, "cannot connect to 127.0.0.1 port ");
        assert_non_null(strstr(f->reason, "Connection refused"));
        r.url = "https://nowhere.invalid/";
        get_fails(f, &r, "cannot find the address of nowhere.invalid: ");
}

static void not_begun(void **state)
{
        Fixture *f = *state;
        static const HttpRequest bad[] = {
                { .url = "https://127.0.0.1/" },
                { .url = "file:///etc/passwd", .ca = "/x" },
                { .url = "ftp://127.0.0.1/", .ca = "/x" },
                { .url = "https://a:b@127.0.0.1/", .ca = "/x" },
                { .url = "https://", .ca = "/x" },
                { .url = "127.0.0.1", .ca = "/x" },
                { .url = "http://127.0.0.1/", .user = "a:b" },
                { .url = "https://127.0.0.1/", .ca = "/x", .user = "no-colon" },
                { .url = "https://127.0.0.1/", .ca = "/x", .accept = "a\r\nX: y" },
        };
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                Http *h;
                Reason reason = { "" };
                assert_int_equal(http_start(f->loop, &bad[i], on_done, f, &h, &reason), -EINVAL);
                assert_true(reason.text[0]);
        }
}

/* After any number of turns of the loop. */
static void cancelled(void **state)
{
        Fixture *f = *state;
        f->done = 0;
        for (unsigned turns = 0; turns < 12; turns++) {
                Http *h;
                Reason reason;
                HttpRequest r = request_for(f, "/slow");
                assert_int_equal(http_start(f->loop, &r, on_done, f, &h, &reason), 0);
                for (unsigned i = 0; i < turns; i++)
                        sd_event_run(loop_sd_event(f->loop), 20 * USEC_PER_MSEC);
                http_cancel(h);
        }
        for (unsigned i = 0; i < 10; i++)
                sd_event_run(loop_sd_event(f->loop), 5 * USEC_PER_MSEC);
        assert_int_equal(f->done, 0);
}

static void in_the_clear(void **state)
{
        Fixture *f = *state;
        broker_kill(&f->web);
        broker_start_web(&f->web, "plain");
        HttpRequest r = { .url = url(f, "http", "localhost", "/ok"), .maximum = 6 };
        run(f, &r);
        assert_int_equal(f->status, 200);
        assert_string_equal(f->body, "hello\n");
        r.maximum = 5;
        get_fails(f, &r, "more than 5 bytes");
        /* A server that speaks no TLS. */
        r = request_for(f, "/ok");
        r.timeout = 500 * USEC_PER_MSEC;
        get_fails(f, &r, "no answer in time");
}

static void old_tls(void **state)
{
        Fixture *f = *state;
        broker_kill(&f->web);
        broker_start_web(&f->web, "old");
        HttpRequest r = request_for(f, "/ok");
        get_fails(f, &r, "protocol version");
}

static int setup(void **state)
{
        Fixture *f = calloc(1, sizeof(*f));
        broker_prepare(&f->web);
        broker_start_web(&f->web, "tls");
        assert_int_equal(loop_new(&f->loop), 0);
        *state = f;
        return 0;
}

static int teardown(void **state)
{
        Fixture *f = *state;
        loop_free(f->loop);
        broker_done(&f->web);
        free(f);
        return 0;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(answers),   cmocka_unit_test(posts),
                cmocka_unit_test(redirects), cmocka_unit_test(hostile),
                cmocka_unit_test(slow),      cmocka_unit_test(wrong_server),
                cmocka_unit_test(nobody),    cmocka_unit_test(not_begun),
                cmocka_unit_test(cancelled), cmocka_unit_test(in_the_clear),
                cmocka_unit_test(old_tls),
        };
        return cmocka_run_group_tests(tests, setup, teardown);
}
