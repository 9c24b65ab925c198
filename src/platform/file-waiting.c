/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/file-waiting.h"

#include <errno.h>
#include <string.h>

#include "platform/fiber.h"
#include "platform/file.h"
#include "platform/job.h"

typedef struct Write {
        char *path;
        uint8_t *data;
        size_t len;
        mode_t mode;
        int error;
        Fiber *fiber;
} Write;

static void run(void *data)
{
        Write *w = data;
        w->error = file_write_atomic(w->path, BYTES(w->data, w->len), w->mode);
}

static void write_free(void *data)
{
        Write *w = data;
        free(w->path);
        free(w->data);
        free(w);
}

/* Back on the fiber, which takes the outcome before it yields again. */
static void done(void *data, void *userdata)
{
        *(int *)userdata = ((Write *)data)->error;
        fiber_resume(((Write *)data)->fiber);
}

static Write *write_new(const char *path, Bytes content, mode_t mode)
{
        Write *w = calloc(1, sizeof(*w));
        if (!w)
                return NULL;
        *w = (Write){ .path = strdup(path),
                      .data = malloc(content.len + 1),
                      .len = content.len,
                      .mode = mode,
                      .fiber = fiber_current() };
        if (w->path && w->data) {
                memcpy(w->data, content.data, content.len);
                return w;
        }
        write_free(w);
        return NULL;
}

int file_write_waiting(Loop *loop, const char *path, Bytes content, mode_t mode)
{
        static const JobWork work = { .run = run, .free = write_free, .done = done };
        Job *job;
        int error = 0;
        if (!loop || !fiber_current())
                return file_write_atomic(path, content, mode);
        Write *w = write_new(path, content, mode);
        if (!w)
                return -ENOMEM;
        int r = job_start(loop, "file", &work, w, &error, &job);
        if (r < 0) {
                write_free(w);
                return r;
        }
        fiber_yield();
        return error;
}
