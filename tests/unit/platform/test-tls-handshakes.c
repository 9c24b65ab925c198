/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Many handshakes at once: whose step comes when. */

#include "tls-bench.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>

#define CROWD 12

/* Connected, without a word yet. */
static void crowd_begin(Bench *b, Client crowd[static CROWD])
{
        for (size_t i = 0; i < CROWD; i++) {
                client_begin(b, &crowd[i]);
                fcntl(crowd[i].fd, F_SETFL, O_NONBLOCK);
        }
        turn(b, 50 * USEC_PER_MSEC);
}

static void crowd_say_hello(Client crowd[static CROWD])
{
        for (size_t i = 0; i < CROWD; i++)
                assert_int_equal(SSL_connect(crowd[i].ssl), -1);
}

static size_t crowd_answered(const Client crowd[static CROWD])
{
        size_t n = 0;
        uint8_t byte;
        for (size_t i = 0; i < CROWD; i++)
                n += recv(crowd[i].fd, &byte, 1, MSG_PEEK) == 1;
        return n;
}

static void run_until_one_is_answered(Bench *b, const Client crowd[static CROWD])
{
        while (crowd_answered(crowd) == 0)
                assert_true(sd_event_run(loop_sd_event(b->loop), USEC_PER_SEC) > 0);
}

static void crowd_get_in(Bench *b, Client crowd[static CROWD], unsigned established)
{
        for (int i = 0; i < 200 && b->established < established; i++) {
                for (size_t j = 0; j < CROWD; j++)
                        SSL_connect(crowd[j].ssl);
                turn(b, 5 * USEC_PER_MSEC);
        }
        assert_int_equal(b->established, established);
        for (size_t i = 0; i < CROWD; i++)
                client_close(&crowd[i]);
}

/* What a connected peer says waits for a step of one handshake, not for one of each. */
static void handshakes_take_turns(void **state)
{
        Bench b;
        Client in, crowd[CROWD];
        bench_open(&b, 100, 100);
        client_open(&b, &in);
        crowd_begin(&b, crowd);
        crowd_say_hello(crowd);
        run_until_one_is_answered(&b, crowd);
        assert_int_equal(SSL_write(in.ssl, "x", 1), 1);
        while (b.received == 0)
                assert_true(sd_event_run(loop_sd_event(b.loop), USEC_PER_SEC) > 0);
        assert_true(crowd_answered(crowd) <= 4);
        crowd_get_in(&b, crowd, CROWD + 1);
        client_close(&in);
        bench_close(&b);
}

/* Nobody who has been answered waits for all those who come later. */
static void begun_handshakes_come_first(void **state)
{
        Bench b;
        Client begun, crowd[CROWD];
        bench_open(&b, 100, 100);
        client_begin(&b, &begun);
        fcntl(begun.fd, F_SETFL, O_NONBLOCK);
        assert_int_equal(SSL_connect(begun.ssl), -1);
        crowd_begin(&b, crowd);
        crowd_say_hello(crowd);
        run_until_one_is_answered(&b, crowd);
        assert_int_equal(SSL_connect(begun.ssl), 1);
        while (b.established == 0)
                assert_true(sd_event_run(loop_sd_event(b.loop), USEC_PER_SEC) > 0);
        assert_true(crowd_answered(crowd) <= 4);
        crowd_get_in(&b, crowd, CROWD + 1);
        client_close(&begun);
        bench_close(&b);
}

/* Who goes while it waits for its step costs none, and leaves nothing behind. */
static void gone_before_its_step(void **state)
{
        Bench b;
        Client crowd[CROWD];
        const struct linger reset = { .l_onoff = 1 };
        bench_open(&b, 100, 100);
        crowd_begin(&b, crowd);
        crowd_say_hello(crowd);
        assert_int_equal(tls_server_connections(b.server), CROWD);
        for (size_t i = 0; i < CROWD; i++) {
                setsockopt(crowd[i].fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
                client_close(&crowd[i]);
        }
        turn(&b, 100 * USEC_PER_MSEC);
        assert_int_equal(tls_server_connections(b.server), 0);
        assert_int_equal(b.established, 0);
        assert_string_equal(b.reason, ""); /* of a handshake that was tried */
        bench_close(&b);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(handshakes_take_turns),
                cmocka_unit_test(begun_handshakes_come_first),
                cmocka_unit_test(gone_before_its_step),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
