/* SPDX-License-Identifier: GPL-3.0-or-later */

/* What a client publishes in one turn of the loop is gathered and written at its end. */

#include "mqtt-client-bench.h"

#include <arpa/inet.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>
#include <unistd.h>

static int fd_to(uint16_t port)
{
        for (int fd = 3; fd < 64; fd++) {
                struct sockaddr_in a;
                socklen_t len = sizeof(a);
                if (getpeername(fd, (struct sockaddr *)&a, &len) == 0 && a.sin_family == AF_INET &&
                    ntohs(a.sin_port) == port)
                        return fd;
        }
        fail_msg("no connection to the broker");
        return -1;
}

static uint32_t segments_out(int fd)
{
        struct tcp_info info;
        socklen_t len = sizeof(info);
        assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
        return info.tcpi_data_segs_out;
}

static void publish_many(Fixture *f, unsigned n, Bytes payload)
{
        const MqttClientPublish p = { .topic = "up/a", .payload = payload };
        int mid;
        for (unsigned i = 0; i < n; i++)
                assert_int_equal(mqtt_client_publish(f->client, &p, &mid), 0);
}

/* What is published in one turn goes out together, and at its end. */
static void one_turn_one_write(void **state)
{
        Fixture *f = *state;
        broker_start(&f->broker, "max_inflight_messages 0");
        start(f);
        pump(f, &f->seen.connected, 1, 5 * USEC_PER_SEC);
        int fd = fd_to(f->broker.port);
        uint32_t before = segments_out(fd);
        publish_many(f, 50, BYTES_LITERAL("21.5"));
        assert_int_equal(segments_out(fd), before);
        pump(f, &f->seen.acknowledged, 50, 5 * USEC_PER_SEC);
        assert_in_range(segments_out(fd) - before, 1, 4);
}

/* DISCONNECT is not left behind: the broker would publish a will. */
static void goodbye(void **state)
{
        Fixture *f = *state;
        broker_start(&f->broker, NULL);
        start(f);
        pump(f, &f->seen.connected, 1, 5 * USEC_PER_SEC);
        publish_many(f, 1, BYTES_LITERAL("x"));
        pump(f, &f->seen.acknowledged, 1, 5 * USEC_PER_SEC);
        size_t before = file_count(f->broker.log, "Received DISCONNECT from gw-1");
        f->client = mqtt_client_free(f->client);
        for (unsigned i = 0; file_count(f->broker.log, "Received DISCONNECT from gw-1") == before;
             i++) {
                assert_true(i < 500);
                usleep(10000);
        }
}

/* Rises with what the socket takes. */
static uint64_t taken(int fd)
{
        int unsent;
        assert_int_equal(ioctl(fd, SIOCOUTQ, &unsent), 0);
        return segments_out(fd) + (uint64_t)unsent;
}

/* A broker that does not read for a while: what is gathered then goes out when it does, and the
 * loop does not spin. */
static void broker_stands_still(void **state)
{
        Fixture *f = *state;
        static uint8_t some[16000];
        unsigned n = 0, turns = 0;
        broker_start(&f->broker, "max_inflight_messages 0\nmax_queued_messages 0");
        start(f);
        pump(f, &f->seen.connected, 1, 5 * USEC_PER_SEC);
        int fd = fd_to(f->broker.port);
        kill(f->broker.pid, SIGSTOP);
        for (uint64_t before = 0; taken(fd) != before && n < 2000; n++) {
                before = taken(fd);
                publish_many(f, 1, BYTES(some, sizeof(some)));
                for (unsigned i = 0; i < 4; i++)
                        sd_event_run(loop_sd_event(f->loop), USEC_PER_MSEC);
        }
        for (usec_t until = now_boottime() + USEC_PER_SEC; now_boottime() < until; turns++)
                sd_event_run(loop_sd_event(f->loop), 100 * USEC_PER_MSEC);
        kill(f->broker.pid, SIGCONT);
        assert_in_range(n, 10, 1999);
        assert_true(turns < 200);
        pump(f, &f->seen.acknowledged, n, 4 * USEC_PER_SEC);
        assert_int_equal(f->seen.disconnected, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(one_turn_one_write),
                TEST(goodbye),
                TEST(broker_stands_still),
        };
        return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
