/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "uplink-bench.h"

#include <stdio.h>
#include <string.h>
#include <systemd/sd-event.h>

Broker broker;

int group_setup(void **state)
{
        broker_prepare(&broker);
        return 0;
}

int group_teardown(void **state)
{
        broker_done(&broker);
        return 0;
}

void reopen_store(Fixture *f)
{
        store_free(f->store);
        assert_int_equal(store_open(f->loop, f->directory, (uint64_t)64 << 20, &f->store), 0);
}

void write_acl(const char *text)
{
        char path[128];
        snprintf(path, sizeof(path), "%s/acl", broker.directory);
        FILE *file = fopen(path, "we");
        assert_non_null(file);
        fputs(text, file);
        fclose(file);
}

void broker_start_with_acl(const char *text)
{
        char extra[160];
        snprintf(extra, sizeof(extra), "acl_file %s/acl", broker.directory);
        write_acl(text);
        broker_start(&broker, extra);
}

int setup(void **state)
{
        Fixture *f = calloc(1, sizeof(*f));
        strcpy(f->directory, "/tmp/test-uplink.XXXXXX");
        assert_non_null(mkdtemp(f->directory));
        assert_int_equal(loop_new(&f->loop), 0);
        reopen_store(f);
        f->credential = broker_credential(&broker, false);
        f->config = (UplinkConfig){
                .client = {
                        .host = "127.0.0.1",
                        .port = broker.port,
                        .server_name = "broker.test",
                        .ca = broker.ca,
                        .client_id = "gw-1",
                        .keep_alive = 30,
                        .window = WINDOW,
                        .backoff_min = 50 * USEC_PER_MSEC,
                        .backoff_max = 200 * USEC_PER_MSEC,
                },
                .topic_prefix = "site/a",
                .gateway = "gw",
                .suspect_wait = 100 * USEC_PER_MSEC,
        };
        remove(broker.log);
        *state = f;
        return 0;
}

int teardown(void **state)
{
        Fixture *f = *state;
        char command[128];
        uplink_free(f->uplink);
        store_free(f->store);
        credential_unref(f->credential);
        broker_kill(&broker);
        loop_free(f->loop);
        snprintf(command, sizeof(command), "rm -rf -- '%s'", f->directory);
        assert_int_equal(system(command), 0);
        free(f);
        return 0;
}

void start(Fixture *f)
{
        assert_int_equal(uplink_new(f->loop, f->store, &f->config, f->credential, &f->uplink), 0);
}

void turn(Fixture *f)
{
        assert_true(sd_event_run(loop_sd_event(f->loop), 50 * USEC_PER_MSEC) >= 0);
}

UplinkStats stats_of(Fixture *f)
{
        UplinkStats s;
        uplink_stats(f->uplink, &s);
        return s;
}

uint64_t waiting(Fixture *f)
{
        StoreStats s;
        store_stats(f->store, &s);
        return s.records;
}

static void on_appended(int error, uint64_t id, void *userdata)
{
        Fixture *f = userdata;
        assert_int_equal(error, 0);
        f->appended++;
}

void append(Fixture *f, StoreKind kind, const char *device, const char *topic, Bytes payload)
{
        const StoreRecord r = {
                .kind = (uint8_t)kind,
                .device = device,
                .topic = topic,
                .content_type = "text/plain",
                .posture = "affirming",
                .received = 1767225600 * USEC_PER_SEC + 42 * USEC_PER_MSEC,
                .payload = payload,
        };
        assert_int_equal(store_append(f->store, &r, on_appended, f, NULL), 0);
}

void append_other(Fixture *f, uint64_t *delivered)
{
        if (stats_of(f).delivered == *delivered)
                return;
        *delivered = stats_of(f).delivered;
        append(f, STORE_TELEMETRY, "other", "x", BYTES_LITERAL("x"));
}

void append_range(Fixture *f, const char *device, unsigned first, unsigned last)
{
        size_t target = f->appended;
        for (unsigned i = first; i < last; i++, target++) {
                char topic[32];
                snprintf(topic, sizeof(topic), "n/%u", i);
                append(f, STORE_TELEMETRY, device, topic, bytes_from_str(topic));
        }
        while (f->appended < target)
                turn(f);
}

void count_arrivals(const char *device, unsigned *counts, unsigned n)
{
        char pattern[64], line[1024];
        unsigned highest = 0;
        snprintf(pattern, sizeof(pattern), "'site/a/gw/%s/n/", device);
        FILE *log = fopen(broker.log, "re");
        assert_non_null(log);
        while (fgets(line, sizeof(line), log)) {
                const char *p = strstr(line, pattern);
                if (!p || !strstr(line, "Received PUBLISH from gw-1"))
                        continue;
                unsigned i = (unsigned)atoi(p + strlen(pattern));
                assert_true(i < n);
                if (counts[i]++ == 0) {
                        assert_true(i >= highest);
                        highest = i;
                }
        }
        fclose(log);
}
