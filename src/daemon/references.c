/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/references.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/str.h"
#include "platform/crypto.h"
#include "platform/file.h"

#define FILES_MAX 1024

typedef struct Files {
        ReferenceFile *files;
        size_t n;
} Files;

static void files_done(Files *f)
{
        for (size_t i = 0; i < f->n; i++) {
                free((char *)f->files[i].name);
                free((uint8_t *)f->files[i].content.data);
        }
        free(f->files);
}

/* Nobody but root and this daemon's user may have written there. */
static int check_owner(const char *path, const struct stat *st)
{
        if (st->st_uid != 0 && st->st_uid != geteuid())
                return log_message_errno(LOG_ERR, -EPERM, NULL,
                                         "%s belongs to user %u: reference values must belong to "
                                         "root (chown root)",
                                         path, (unsigned)st->st_uid);
        if (st->st_mode & (S_IWGRP | S_IWOTH))
                return log_message_errno(LOG_ERR, -EPERM, NULL,
                                         "%s is writable for others: reference values must not be "
                                         "(chmod go-w)",
                                         path);
        return 0;
}

static int add_file(Files *f, const char *path)
{
        _cleanup_free_ uint8_t *data = NULL;
        size_t len;
        struct stat st;

        if (f->n == FILES_MAX)
                return log_error_errno(-E2BIG, "More than %d files of reference values", FILES_MAX);
        if (stat(path, &st) < 0)
                return log_error_errno(-errno, "Cannot read the reference values in %s", path);
        int r = check_owner(path, &st);
        if (r < 0)
                return r;
        r = file_read(path, CORIM_SIZE_MAX, &data, &len);
        if (r < 0)
                return log_error_errno(r, "Cannot read the reference values in %s", path);
        ReferenceFile *grown = reallocarray(f->files, f->n + 1, sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        f->files = grown;
        char *name = strdup(path);
        if (!name)
                return -ENOMEM;
        f->files[f->n++] = (ReferenceFile){ .name = name, .content = BYTES(TAKE_PTR(data), len) };
        return 0;
}

static int is_cbor(const struct dirent *e)
{
        size_t len = strlen(e->d_name);
        return e->d_name[0] != '.' && len > 5 && streq(e->d_name + len - 5, ".cbor");
}

static int add_directory(Files *f, const char *path)
{
        struct dirent **entries;
        int n = scandir(path, &entries, is_cbor, alphasort);
        if (n < 0)
                return log_error_errno(-errno, "Cannot list %s", path);
        int r = 0;
        for (int i = 0; i < n; i++) {
                char *file = NULL;
                if (r >= 0)
                        r = asprintf(&file, "%s/%s", path, entries[i]->d_name) < 0
                                    ? -ENOMEM
                                    : add_file(f, file);
                free(file);
                free(entries[i]);
        }
        free(entries);
        if (n == 0)
                log_warning("There is no file *.cbor in %s: no reference values from there", path);
        return r;
}

static int add_path(Files *f, const char *path)
{
        struct stat st;
        if (stat(path, &st) < 0)
                return log_error_errno(-errno, "Cannot read the reference values in %s", path);
        if (!S_ISDIR(st.st_mode))
                return add_file(f, path);
        int r = check_owner(path, &st);
        return r < 0 ? r : add_directory(f, path);
}

int references_load(const char *const *paths, size_t n, ReferenceSet **ret)
{
        _cleanup_(files_done) Files files = { 0 };
        char error[REFERENCE_ERROR_MAX] = "";
        static const CorimTrust trust = { 0 };

        for (size_t i = 0; i < n; i++) {
                int r = add_path(&files, paths[i]);
                if (r < 0)
                        return r;
        }
        ReferenceSet *set = NULL;
        int r = reference_set_load(files.files, files.n, &trust, crypto_sha256, now_realtime(),
                                   &set, error);
        if (r < 0)
                return log_error_errno(r, "Cannot use the reference values: %s", error);
        log_info("Reference values: %zu references and %zu keys from %zu files, %zu parts skipped",
                 reference_set_references(set), reference_set_keys(set), files.n,
                 reference_set_skipped(set));
        *ret = set;
        return 0;
}
