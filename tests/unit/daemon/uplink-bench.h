/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* An uplink with a store of its own, for a broker that the test starts: setup and teardown of
 * cmocka and what its tests say often. All assert. */

#include "../unit.h"

#include "../broker.h"
#include "daemon/uplink-suspects.h"
#include "daemon/uplink.h"

#define WINDOW 20

typedef struct Fixture {
        char directory[64];
        Loop *loop;
        Store *store;
        Credential *credential;
        UplinkConfig config;
        Uplink *uplink;
        size_t appended;
        unsigned commands;
        char command[128];
} Fixture;

extern Broker broker;

int group_setup(void **state);
int group_teardown(void **state);
int setup(void **state);
int teardown(void **state);
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

void start(Fixture *f);
/* Closes the store and opens it, before start(). */
void reopen_store(Fixture *f);
/* The broker's access list, which it reads when it starts, and again at SIGHUP. */
void write_acl(const char *text);
void broker_start_with_acl(const char *text);
/* One turn of the loop, which waits for at most 50 ms. */
void turn(Fixture *f);
UplinkStats stats_of(Fixture *f);
/* Records in the store. */
uint64_t waiting(Fixture *f);

#define PUMP_UNTIL(f, condition)                                                                   \
        do {                                                                                       \
                usec_t _deadline = now_boottime() + 30 * USEC_PER_SEC;                             \
                while (!(condition)) {                                                             \
                        turn(f);                                                                   \
                        if (now_boottime() > _deadline)                                            \
                                fail_msg("%s never came; %s", #condition, stats_of(f).last_error); \
                }                                                                                  \
        } while (0)

/* Returns at once; `appended` counts what is durable. */
void append(Fixture *f, StoreKind kind, const char *device, const char *topic, Bytes payload);
/* Other records for as long as it takes, one after the other. */
#define PUMP_WITH_OTHERS(f, condition)                                                             \
        do {                                                                                       \
                uint64_t _others = UINT64_MAX;                                                     \
                PUMP_UNTIL(f, (append_other(f, &_others), (condition)));                           \
        } while (0)
/* Unless nothing was delivered since `delivered`, which is not so at first. */
void append_other(Fixture *f, uint64_t *delivered);
/* Records n/<first> ... n/<last - 1>; returns when they are durable. */
void append_range(Fixture *f, const char *device, unsigned first, unsigned last);
/* How often each number of the device arrived, from the broker's own log; checks that the first
 * arrivals are in order. */
void count_arrivals(const char *device, unsigned *counts, unsigned n);
