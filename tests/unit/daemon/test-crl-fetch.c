/* SPDX-License-Identifier: GPL-3.0-or-later */
/* When the revocation list is asked for, at a real web server; who takes it is the test's. */
#include "../unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-event.h>

#include "../broker.h"
#include "daemon/crl-fetch.h"
#include "daemon/trusted.h"
#include "platform/file.h"

static struct World {
        Broker web;
        Gateway gateway;
        Settings settings;
        char directory[64], urls[2][64];
        unsigned taken;
        char content[64];
        TrustedDone done;
        void *done_userdata;
} w;

int gateway_trust_changed(Gateway *g, const char *path, TrustedDone done, void *userdata)
{
        _cleanup_free_ uint8_t *text = NULL;
        size_t len;
        assert_int_equal(file_read(path, 1000, &text, &len), 0);
        snprintf(w.content, sizeof(w.content), "%s", (char *)text);
        w.taken++;
        w.done = done;
        w.done_userdata = userdata;
        return 0;
}

static void turn_until_taken(unsigned n)
{
        usec_t until = now_boottime() + 10 * USEC_PER_SEC;
        while (w.taken < n && now_boottime() < until)
                sd_event_run(loop_sd_event(w.gateway.loop), 20 * USEC_PER_MSEC);
        assert_int_equal(w.taken, n);
}

/* Another server is named while the list of the one before is looked at: it is asked at once, and
 * not with what the other said. */
static void moved(void **state)
{
        CrlFetch *f;
        w.settings.crl.url = w.urls[0];
        assert_int_equal(crl_fetch_new(&w.gateway, &f), 0);
        turn_until_taken(1);
        assert_string_equal(w.content, "hello\n");
        w.settings.crl.url = w.urls[1];
        crl_fetch_reloaded(f);
        w.done(0, "", w.done_userdata);
        turn_until_taken(2);
        assert_string_equal(w.content, "hello!\n");
        /* And back: 304 would be the answer to who still names the copy of then. */
        w.done(0, "", w.done_userdata);
        w.settings.crl.url = w.urls[0];
        crl_fetch_reloaded(f);
        turn_until_taken(3);
        w.done(0, "", w.done_userdata);
        crl_fetch_free(f);
}

static int setup(void **state)
{
        static const char *const paths[] = { "/ok", "/chunked" };
        broker_prepare(&w.web);
        broker_start_web(&w.web, "plain");
        snprintf(w.directory, sizeof(w.directory), "/tmp/crl-fetch-XXXXXX");
        assert_non_null(mkdtemp(w.directory));
        for (size_t i = 0; i < 2; i++)
                snprintf(w.urls[i], sizeof(w.urls[i]), "http://127.0.0.1:%u%s", w.web.port,
                         paths[i]);
        w.settings.state_directory = w.directory;
        w.settings.crl.interval = USEC_PER_HOUR;
        w.gateway.settings = &w.settings;
        return loop_new(&w.gateway.loop);
}

static int teardown(void **state)
{
        char path[100];
        snprintf(path, sizeof(path), "%s/" TRUSTED_FETCHED ".new", w.directory);
        remove(path);
        remove(w.directory);
        loop_free(w.gateway.loop);
        broker_done(&w.web);
        return 0;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(moved),
        };
        return cmocka_run_group_tests(tests, setup, teardown);
}
