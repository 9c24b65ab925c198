/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* A store in a directory of its own: setup and teardown of cmocka, and what its tests say often.
 * All assert. */

#include "../unit.h"

#include "platform/store.h"

#define MAX_BYTES (STORE_BYTES_MIN * 8)

typedef struct Fixture {
        char directory[64];
        Loop *loop;
        Store *store;
} Fixture;

int setup(void **state);
int teardown(void **state);
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

void open_store(Fixture *f, uint64_t max_bytes);
/* Closes and opens it, with MAX_BYTES. */
void reopen(Fixture *f);
/* Runs the loop until `*counter` has reached `target`. */
void pump(Fixture *f, const size_t *counter, size_t target);
uint64_t disk_use(Fixture *f);

typedef struct Result {
        size_t calls, stored, full;
        int error;
        uint64_t last_id;
} Result;

/* Of StoreDone; `userdata` is a Result. */
void on_done(int error, uint64_t id, void *userdata);
/* Telemetry of `device`, with the same topic and times always. */
StoreRecord record(const char *device, Bytes payload);
void append(Fixture *f, const StoreRecord *r, Result *result);

#define READ_MAX 20000
typedef struct Answer {
        size_t calls, n;
        int error;
        uint64_t ids[READ_MAX], sequences[READ_MAX], epoch;
        char payload[READ_MAX][24], device[READ_MAX][8];
} Answer;

/* Of StoreReadDone; `userdata` is an Answer. */
void on_read(int error, StoreRecord *records, size_t n, void *userdata);
/* At most READ_MAX records as store_read() gives them; holds until the next call. */
Answer *read_all(Fixture *f, uint8_t kind, uint64_t after, size_t max_bytes);

/* Records until one is refused for room. */
void fill_up(Fixture *f, size_t size);
StoreStats stats_of(Fixture *f);
void turn_for(Fixture *f, usec_t span);

/* The tests' own kinds of values. */
enum { SESSION = 1, QUEUE, WILL };

StoreKey key_of(uint8_t kind, uint64_t a, uint64_t b);
void put(Fixture *f, StoreKey key, const char *value);
/* At most 1 MiB. */
void put_zeros(Fixture *f, StoreKey key, size_t len);
void forget(Fixture *f, StoreKey key);
/* What a barrier hears. */
int barrier(Fixture *f);
/* Of StoreEach: adds to a line of 512 bytes, "1.2=text 1.3=other". */
int note(const StoreKey *key, Bytes value, void *userdata);
/* Such a line of all of a kind, of a store on which nothing was asked for yet. */
void assert_kept(Fixture *f, uint8_t kind, const char *expected);

/* The file of a store that is closed: junk over a piece of it, statements, the page at which a
 * table begins, how many were set aside. */
void overwrite(Fixture *f, off_t offset, size_t len);
void run_sql(Fixture *f, const char *text);
int64_t root_page(Fixture *f, const char *table);
size_t count_set_aside(Fixture *f);
