/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "mqtt-disk.h"

#include <errno.h>
#include <stdlib.h>

typedef enum DiskOpType {
        DISK_PUT,
        DISK_REMOVE,
        DISK_RECORD,
        DISK_BARRIER,
} DiskOpType;

typedef struct DiskOp {
        List node;
        DiskOpType type;
        uint64_t group;
        bool written;
        MqttPending *pending; /* of a record or a barrier */
        MqttKey key;
        char *text; /* of a record */
        size_t len;
        uint8_t value[];
} DiskOp;

typedef struct DiskValue {
        List node;
        MqttKey key;
        size_t len;
        uint8_t value[];
} DiskValue;

typedef struct DiskRecord {
        List node;
        char *text;
} DiskRecord;

static DiskOp *op_of(List *node)
{
        return LIST_ENTRY(node, DiskOp, node);
}

static DiskValue *value_of(List *node)
{
        return LIST_ENTRY(node, DiskValue, node);
}

static void *allocate(size_t size)
{
        void *p = calloc(1, size);
        if (!p)
                abort();
        return p;
}

static void op_free(DiskOp *op)
{
        list_remove(&op->node);
        free(op->text);
        free(op);
}

static void value_free(DiskValue *v)
{
        list_remove(&v->node);
        free(v);
}

void mqtt_disk_init(MqttDisk *d)
{
        *d = (MqttDisk){ 0 };
        list_init(&d->log);
        list_init(&d->values);
        list_init(&d->records);
}

void mqtt_disk_done(MqttDisk *d)
{
        LIST_FOREACH_SAFE (i, &d->log)
                op_free(op_of(i));
        LIST_FOREACH_SAFE (i, &d->values)
                value_free(value_of(i));
        LIST_FOREACH_SAFE (i, &d->records) {
                free(LIST_ENTRY(i, DiskRecord, node)->text);
                free(LIST_ENTRY(i, DiskRecord, node));
        }
        mqtt_disk_init(d);
}

/* ---- what the port asks for ---- */

void mqtt_disk_begin(MqttDisk *d)
{
        d->group++;
}

static DiskOp *append(MqttDisk *d, DiskOpType type, size_t len)
{
        DiskOp *op = allocate(sizeof(*op) + len);
        op->type = type;
        op->group = d->group;
        op->len = len;
        list_append(&d->log, &op->node);
        return op;
}

void mqtt_disk_put(MqttDisk *d, const MqttKey *key, Bytes value)
{
        if (d->lost)
                return;
        if (key->a > INT64_MAX || key->b > INT64_MAX)
                abort();
        DiskOp *op = append(d, DISK_PUT, value.len);
        op->key = *key;
        if (value.len > 0)
                memcpy(op->value, value.data, value.len);
}

void mqtt_disk_remove(MqttDisk *d, const MqttKey *key)
{
        if (!d->lost)
                append(d, DISK_REMOVE, 0)->key = *key;
}

int mqtt_disk_barrier(MqttDisk *d, MqttPending *p)
{
        if (d->lost || d->no_barrier)
                return -ENOMEM;
        d->group++;
        append(d, DISK_BARRIER, 0)->pending = p;
        d->group++;
        return 0;
}

int mqtt_disk_record(MqttDisk *d, MqttPending *p, const char *text)
{
        if (d->lost)
                return -ENOMEM;
        d->group++;
        DiskOp *op = append(d, DISK_RECORD, 0);
        op->pending = p;
        op->text = strdup(text);
        if (!op->text)
                abort();
        return 0;
}

/* ---- what becomes of it ---- */

static int compare(const MqttKey *a, const MqttKey *b)
{
        if (a->kind != b->kind)
                return a->kind < b->kind ? -1 : 1;
        if (a->a != b->a)
                return a->a < b->a ? -1 : 1;
        return a->b < b->b ? -1 : a->b > b->b;
}

/* The first value that does not stand before `key`. */
static List *find_place(MqttDisk *d, const MqttKey *key)
{
        List *i = d->values.next;
        while (i != &d->values && compare(&value_of(i)->key, key) < 0)
                i = i->next;
        return i;
}

static void erase(MqttDisk *d, const MqttKey *key)
{
        List *at = find_place(d, key);
        if (at != &d->values && compare(&value_of(at)->key, key) == 0)
                value_free(value_of(at));
}

void mqtt_disk_plant(MqttDisk *d, const MqttKey *key, Bytes value)
{
        DiskValue *v = allocate(sizeof(*v) + value.len);
        v->key = *key;
        v->len = value.len;
        if (value.len > 0)
                memcpy(v->value, value.data, value.len);
        erase(d, key);
        list_insert_before(find_place(d, key), &v->node);
}

static void add_record(MqttDisk *d, DiskOp *op)
{
        DiskRecord *r = allocate(sizeof(*r));
        r->text = TAKE_PTR(op->text);
        list_append(&d->records, &r->node);
}

static void apply(MqttDisk *d, DiskOp *op)
{
        op->written = true;
        switch (op->type) {
        case DISK_PUT:
                mqtt_disk_plant(d, &op->key, BYTES(op->value, op->len));
                break;
        case DISK_REMOVE:
                erase(d, &op->key);
                break;
        case DISK_RECORD:
                add_record(d, op);
                break;
        case DISK_BARRIER:
                break;
        }
        if (!op->pending)
                op_free(op);
}

static List *first_unwritten(MqttDisk *d)
{
        List *i = d->log.next;
        while (i != &d->log && op_of(i)->written)
                i = i->next;
        return i;
}

bool mqtt_disk_write(MqttDisk *d)
{
        List *i = first_unwritten(d);
        if (i == &d->log)
                return false;
        uint64_t group = op_of(i)->group;
        if (group == d->group) /* the turn is over, and its group with it */
                d->group++;
        while (i != &d->log && op_of(i)->group == group) {
                List *next = i->next;
                apply(d, op_of(i));
                i = next;
        }
        return true;
}

static void answer(DiskOp *op, MqttReason reason, const char *text)
{
        MqttPending *p = op->pending;
        op_free(op);
        mqtt_server_settle(p, reason, text);
}

bool mqtt_disk_settle(MqttDisk *d)
{
        while (list_empty(&d->log) || !op_of(list_first(&d->log))->written)
                if (!mqtt_disk_write(d))
                        return false;
        answer(op_of(list_first(&d->log)), MQTT_SUCCESS, NULL);
        return true;
}

void mqtt_disk_settle_all(MqttDisk *d)
{
        while (mqtt_disk_settle(d))
                ;
}

static void drop_group(MqttDisk *d, uint64_t group)
{
        LIST_FOREACH_SAFE (i, &d->log)
                if (op_of(i)->group == group && !op_of(i)->pending)
                        op_free(op_of(i));
        if (group == d->group)
                d->group++;
}

bool mqtt_disk_fail(MqttDisk *d, MqttReason reason, const char *text)
{
        List *i = d->log.next;
        while (i != &d->log && !op_of(i)->pending)
                i = i->next;
        if (i == &d->log || op_of(i)->written)
                return false;
        if (op_of(i)->type == DISK_RECORD)
                drop_group(d, op_of(i)->group);
        answer(op_of(i), reason, text);
        return true;
}

void mqtt_disk_crash(MqttDisk *d)
{
        LIST_FOREACH_SAFE (i, &d->log)
                op_free(op_of(i));
        d->lost = false;
}

/* ---- what is there ---- */

size_t mqtt_disk_waiting(const MqttDisk *d)
{
        size_t n = 0;
        LIST_FOREACH (i, &d->log)
                n += op_of(i)->pending != NULL;
        return n;
}

const MqttPending *mqtt_disk_next(const MqttDisk *d)
{
        LIST_FOREACH (i, &d->log)
                if (op_of(i)->pending)
                        return op_of(i)->pending;
        return NULL;
}

size_t mqtt_disk_n_values(const MqttDisk *d, uint8_t kind)
{
        size_t n = 0;
        LIST_FOREACH (i, &d->values)
                n += kind == 0 || value_of(i)->key.kind == kind;
        return n;
}

size_t mqtt_disk_n_records(const MqttDisk *d)
{
        size_t n = 0;
        LIST_FOREACH (i, &d->records)
                n++;
        return n;
}

const char *mqtt_disk_get_record(const MqttDisk *d, size_t n)
{
        LIST_FOREACH (i, &d->records)
                if (n-- == 0)
                        return LIST_ENTRY(i, DiskRecord, node)->text;
        return NULL;
}

int mqtt_disk_read(uint8_t kind, MqttStoredEach each, void *each_userdata, void *userdata)
{
        const MqttDisk *d = userdata;
        int r = 0;
        LIST_FOREACH (i, &d->values) {
                const DiskValue *v = value_of(i);
                if (v->key.kind == kind && r >= 0)
                        r = each(&v->key, BYTES(v->value, v->len), each_userdata);
        }
        return r;
}
