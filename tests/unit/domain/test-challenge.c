/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "../unit.h"

#include <errno.h>
#include <stdio.h>

#include "domain/challenge.h"
#include "domain/device.h"

#define S   USEC_PER_SEC
#define TTL (120 * S)

static uint8_t counter;
static int random_result;

/* Different every time, and predictable. */
static int fake_random(void *p, size_t len)
{
        memset(p, ++counter, len);
        return random_result;
}

static Challenges *setup(size_t capacity)
{
        Challenges *c = NULL;
        random_result = 0;
        assert_int_equal(challenges_new(capacity, fake_random, &c), 0);
        return c;
}

typedef struct Nonce {
        uint8_t bytes[CHALLENGE_NONCE_MAX];
} Nonce;

static Nonce issue(Challenges *c, const char *peer, usec_t now)
{
        Nonce n;
        assert_int_equal(challenges_issue(c, peer, 32, TTL, now, n.bytes), 0);
        return n;
}

static bool consume(Challenges *c, const char *peer, const Nonce *n, usec_t now)
{
        return challenges_consume(c, peer, BYTES(n->bytes, 32), now, NULL);
}

static void once(void **state)
{
        _cleanup_(challenges_freep) Challenges *c = setup(8);
        Nonce n = issue(c, "dev1", S);
        usec_t issued = 0;

        assert_false(consume(c, "dev2", &n, 2 * S)); /* another's is not taken, nor used up */
        assert_false(challenges_consume(c, "dev1", BYTES(n.bytes, 31), 2 * S, NULL));
        n.bytes[31] ^= 1;
        assert_false(consume(c, "dev1", &n, 2 * S));
        n.bytes[31] ^= 1;
        assert_true(challenges_consume(c, "dev1", BYTES(n.bytes, 32), 2 * S, &issued));
        assert_int_equal(issued, S);
        assert_false(consume(c, "dev1", &n, 2 * S));
        assert_false(challenges_consume(c, "dev1", BYTES(NULL, 0), 2 * S, NULL));
}

static void lifetime(void **state)
{
        _cleanup_(challenges_freep) Challenges *c = setup(8);
        Nonce a = issue(c, "dev1", S), b = issue(c, "dev1", 2 * S);

        assert_true(consume(c, "dev1", &a, S + TTL - 1));
        assert_false(consume(c, "dev1", &b, 2 * S + TTL));
        assert_false(consume(c, "dev1", &b, 3 * S)); /* gone for good */
}

static void lengths(void **state)
{
        _cleanup_(challenges_freep) Challenges *c = setup(8);
        uint8_t n[CHALLENGE_NONCE_MAX];
        char name[DEVICE_NAME_MAX + 2];

        assert_int_equal(challenges_issue(c, "a", 7, TTL, S, n), -ERANGE);
        assert_int_equal(challenges_issue(c, "a", 65, TTL, S, n), -ERANGE);
        assert_int_equal(challenges_issue(c, "a", 8, TTL, S, n), 0);
        assert_int_equal(challenges_issue(c, "b", 64, TTL, S, n), 0);
        assert_true(challenges_consume(c, "b", BYTES(n, 64), S, NULL));
        assert_int_equal(challenges_issue(c, "", 32, TTL, S, n), -ERANGE);
        memset(name, 'x', sizeof(name));
        name[DEVICE_NAME_MAX + 1] = '\0';
        assert_int_equal(challenges_issue(c, name, 32, TTL, S, n), -ERANGE);
        name[DEVICE_NAME_MAX] = '\0';
        assert_int_equal(challenges_issue(c, name, 32, TTL, S, n), 0);
}

static void rate(void **state)
{
        _cleanup_(challenges_freep) Challenges *c = setup(8);
        uint8_t n[CHALLENGE_NONCE_MAX];
        Nonce a = issue(c, "dev1", 10 * S);

        assert_int_equal(challenges_issue(c, "dev1", 32, TTL, 11 * S - 1, n), -EAGAIN);
        issue(c, "dev2", 10 * S);
        /* Using a nonce up does not buy the next one sooner. */
        assert_true(consume(c, "dev1", &a, 10 * S));
        assert_int_equal(challenges_issue(c, "dev1", 32, TTL, 11 * S - 1, n), -EAGAIN);
        issue(c, "dev1", 11 * S);
}

static void own_oldest_goes(void **state)
{
        _cleanup_(challenges_freep) Challenges *c = setup(8);
        Nonce other = issue(c, "dev2", S);
        Nonce n[4];

        for (size_t i = 0; i < 4; i++)
                n[i] = issue(c, "dev1", (i + 1) * S);
        assert_false(consume(c, "dev1", &n[0], 5 * S));
        assert_false(consume(c, "dev1", &n[1], 5 * S));
        assert_true(consume(c, "dev1", &n[3], 5 * S));
        assert_true(consume(c, "dev1", &n[2], 5 * S));
        assert_true(consume(c, "dev2", &other, 5 * S));
}

/* A nonce that is used up makes room before one that is still out, whichever is older. */
static void used_up_goes(void **state)
{
        _cleanup_(challenges_freep) Challenges *c = setup(8);
        Nonce a = issue(c, "dev1", S), b = issue(c, "dev1", 2 * S);

        assert_true(consume(c, "dev1", &b, 3 * S));
        issue(c, "dev1", 4 * S);
        assert_true(consume(c, "dev1", &a, 5 * S));
}

/* A crowd cannot push anybody's nonce out; room comes back when nonces die. */
static void full(void **state)
{
        _cleanup_(challenges_freep) Challenges *c = setup(4);
        uint8_t n[CHALLENGE_NONCE_MAX];
        Nonce held[4];
        char name[16];

        for (size_t i = 0; i < 4; i++) {
                snprintf(name, sizeof(name), "dev%zu", i);
                held[i] = issue(c, name, S);
        }
        for (usec_t t = S; t < 100 * S; t += S)
                assert_int_equal(challenges_issue(c, "late", 32, TTL, t, n), -EAGAIN);
        assert_true(consume(c, "dev2", &held[2], 100 * S));
        issue(c, "late", 100 * S);
        assert_true(consume(c, "dev0", &held[0], 100 * S));
        assert_true(consume(c, "dev1", &held[1], 100 * S));
        assert_true(consume(c, "dev3", &held[3], 100 * S));
        /* Expired ones make room as well. */
        for (size_t i = 0; i < 4; i++) {
                snprintf(name, sizeof(name), "new%zu", i);
                issue(c, name, 1000 * S);
        }
}

/* A peer in a full table exchanges its own dead or oldest nonce. */
static void full_of_own(void **state)
{
        _cleanup_(challenges_freep) Challenges *c = setup(2);
        issue(c, "dev1", S);
        issue(c, "dev1", 2 * S);
        Nonce n = issue(c, "dev1", 3 * S);
        assert_true(consume(c, "dev1", &n, 3 * S));
}

/* More devices after a reload: what was given out before is still good. */
static void room_for_more(void **state)
{
        _cleanup_(challenges_freep) Challenges *c = setup(1);
        uint8_t n[CHALLENGE_NONCE_MAX];
        Nonce first = issue(c, "dev1", S);

        assert_int_equal(challenges_issue(c, "dev2", 32, TTL, S, n), -EAGAIN);
        assert_int_equal(challenges_reserve(&c, 3), 0);
        assert_int_equal(challenges_reserve(&c, 2), 0);
        Nonce second = issue(c, "dev2", S), third = issue(c, "dev3", S);
        assert_int_equal(challenges_issue(c, "dev4", 32, TTL, S, n), -EAGAIN);
        assert_int_equal(challenges_reserve(&c, SIZE_MAX), -ENOMEM);
        assert_true(consume(c, "dev1", &first, 2 * S));
        assert_true(consume(c, "dev2", &second, 2 * S));
        assert_true(consume(c, "dev3", &third, 2 * S));
}

/* Evidence that cannot be read: the nonce is found wherever it stands, the peer's own alone. */
static void within(void **state)
{
        _cleanup_(challenges_freep) Challenges *c = setup(8);
        uint8_t evidence[200] = { 0 };
        Nonce first = issue(c, "dev1", S), second = issue(c, "dev1", 2 * S),
              other = issue(c, "dev2", S), old = issue(c, "dev3", S);

        memcpy(evidence + 1, first.bytes, 32);
        memcpy(evidence + 40, other.bytes, 32);
        memcpy(evidence + 80, old.bytes, 32);
        memcpy(evidence + 200 - 31, second.bytes, 31); /* all but its last byte */
        assert_int_equal(challenges_spend(c, "dev1", BYTES(evidence, 32), 3 * S), 0);
        assert_int_equal(challenges_spend(c, "dev1", BYTES(NULL, 0), 3 * S), 0);
        assert_int_equal(challenges_spend(c, "dev1", BYTES(evidence, 200), 3 * S), 1);
        assert_int_equal(challenges_spend(c, "dev1", BYTES(evidence, 200), 3 * S), 0);
        assert_false(consume(c, "dev1", &first, 3 * S));
        assert_true(consume(c, "dev1", &second, 3 * S));
        assert_true(consume(c, "dev2", &other, 3 * S));
        assert_int_equal(challenges_spend(c, "dev3", BYTES(evidence, 200), S + TTL), 0);
        assert_false(consume(c, "dev3", &old, S + TTL));
}

static void no_randomness(void **state)
{
        _cleanup_(challenges_freep) Challenges *c = setup(2);
        uint8_t n[CHALLENGE_NONCE_MAX] = { 0 }, zero[CHALLENGE_NONCE_MAX] = { 0 };
        random_result = -EIO;
        assert_int_equal(challenges_issue(c, "dev1", 32, TTL, S, n), -EIO);
        assert_memory_equal(n, zero, sizeof(n));
        memset(n, counter, sizeof(n));
        assert_false(challenges_consume(c, "dev1", BYTES(n, 32), S, NULL));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(once),
                cmocka_unit_test(lifetime),
                cmocka_unit_test(lengths),
                cmocka_unit_test(rate),
                cmocka_unit_test(own_oldest_goes),
                cmocka_unit_test(used_up_goes),
                cmocka_unit_test(full),
                cmocka_unit_test(full_of_own),
                cmocka_unit_test(room_for_more),
                cmocka_unit_test(within),
                cmocka_unit_test(no_randomness),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
