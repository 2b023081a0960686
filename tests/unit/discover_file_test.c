// SPDX-License-Identifier: GPL-2.0-only
/* A directory of manifests is read whole or refused whole, with file, line, field and reason. To
 * add a case of refusal, add a file to manifests/bad: its first line says what is expected. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "discover_file.h"
#include "temp_dir.h"

#define BAD "tests/unit/manifests/bad"
#define SERVICE                                                                                    \
	"apiVersion: v1\nkind: Service\nmetadata: {name: llm, labels: {sluice.dev/steer: "         \
	"enabled}}\nspec: {clusterIP: 10.9.0.1, ports: [{port: 80}]}\n"
#define SLICE                                                                                      \
	"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: s, labels: "       \
	"{kubernetes.io/service-name: llm}}\naddressType: IPv4\nports: [{port: 80}]\n"             \
	"endpoints: [{addresses: [10.1.0.1]}]\n"

struct loaded {
	int err;
	struct model *model;
	struct verdicts verdicts;
	struct diag diag;
};

static struct loaded load_again(struct manifest_dir *manifests)
{
	static const struct policy_options options = {.node_name = "node-1"};
	struct loaded loaded = {0};

	loaded.err = discover_file_load(manifests, &options, &loaded.verdicts, &loaded.model,
					&loaded.diag);
	return loaded;
}

static struct loaded load(const char *dir)
{
	struct manifest_dir *manifests;
	struct loaded loaded;

	CHECK_INT(manifest_dir_new(dir, &manifests), 0);
	loaded = load_again(manifests);
	manifest_dir_free(manifests);
	return loaded;
}

static void loaded_done(struct loaded *loaded)
{
	model_free(loaded->model);
	verdicts_done(&loaded->verdicts);
}

/* "# line 9, spec.clusterIP: is missing": the line, the field ("-": none) and a part of the
 * reason. */
static bool read_expected(const char *path, unsigned *ret_line, char field[256], char reason[512])
{
	FILE *file = fopen(path, "r");
	char text[1024] = "", *colon = NULL, *name;
	int used = 0;

	if (file && fgets(text, sizeof(text), file) &&
	    sscanf(text, "# line %u, %n", ret_line, &used) == 1 && used)
		colon = strstr(text + used, ": ");
	if (file)
		fclose(file);
	if (!colon)
		return false;
	*colon = '\0';
	name = text + used;
	snprintf(field, 256, "%s", strcmp(name, "-") ? name : "");
	snprintf(reason, 512, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
	return true;
}

static void check_bad(const char *name, struct temp_dir *dir)
{
	char source[768], target[768], field[256], reason[512];
	struct loaded loaded;
	unsigned line = 0;

	snprintf(source, sizeof(source), "%s/" BAD "/%s", dir->cwd, name);
	if (!read_expected(source, &line, field, reason)) {
		printf("  %s: its first line must read \"# line N, FIELD: REASON\"\n", source);
		check_failed = true;
		return;
	}
	temp_dir_path(dir, name, target);
	CHECK_INT(symlink(source, target), 0);
	loaded = load(dir->path);
	if (loaded.err != -EINVAL || loaded.model || loaded.diag.line != line ||
	    strcmp(loaded.diag.file, target) || strcmp(loaded.diag.field, field) ||
	    !strstr(loaded.diag.reason, reason)) {
		printf("  %s: %d, %s line %u, %s: %s\n", name, loaded.err, loaded.diag.file,
		       loaded.diag.line, loaded.diag.field, loaded.diag.reason);
		check_failed = true;
	}
	unlink(target);
	loaded_done(&loaded);
}

TEST(bad_manifests_are_refused_with_line_field_and_reason)
{
	struct temp_dir dir = temp_dir_new();
	DIR *list = opendir(BAD);
	struct dirent *entry;
	unsigned n = 0;

	CHECK(list != NULL); /* run from the root of the repository */
	while (list && (entry = readdir(list)))
		if (manifest_dir_takes(entry->d_name)) {
			check_bad(entry->d_name, &dir);
			n++;
		}
	if (list)
		closedir(list);
	CHECK(n >= 30);
	temp_dir_done(&dir);
}

TEST(the_examples_are_understood_whole)
{
	struct loaded loaded = load("manifests");

	CHECK_INT(loaded.err, 0);
	CHECK_INT(loaded.model ? loaded.model->n_services : 0, 5);
	for (size_t i = 0; i < loaded.verdicts.n; i++) {
		const struct verdict *verdict = &loaded.verdicts.list[i];

		if (verdict->kind == VERDICT_HONOURED)
			continue;
		printf("  %s:%u: %s: %s\n", verdict->file, verdict->line, verdict->field,
		       verdict->reason);
		check_failed = true;
	}
	loaded_done(&loaded);
}

TEST(all_files_of_the_three_kinds_are_read_and_no_others)
{
	struct temp_dir dir = temp_dir_new();
	struct loaded loaded;

	temp_dir_write(&dir, "b.yml", SERVICE);
	temp_dir_write(&dir, "a.yaml", SLICE);
	temp_dir_write(
		&dir, "n.json",
		"{\"apiVersion\": \"v1\", \"kind\": \"Service\", \"metadata\": "
		"{\"name\": \"two\", \"labels\": {\"sluice.dev/steer\": \"enabled\"}}, \"spec\": "
		"{\"clusterIP\": \"10.9.0.2\", \"ports\": [{\"port\": 80}]}}");
	temp_dir_write(&dir, ".c.yaml", "{");
	temp_dir_write(&dir, "c.yaml~", "{");
	temp_dir_write(&dir, "README", "{");
	temp_dir_write(&dir, "yaml", "{");
	loaded = load(dir.path);
	CHECK_STR(loaded.diag.reason, "");
	CHECK_INT(loaded.model ? loaded.model->n_services : 0, 2);
	CHECK_INT(loaded.model ? loaded.model->services[0].n_replicas : 0, 1);
	loaded_done(&loaded);
	temp_dir_done(&dir);
}

static void check_refused(struct temp_dir *dir, const char *name, const char *reason)
{
	struct loaded loaded = load(dir->path);
	char path[768];

	temp_dir_path(dir, name, path);
	CHECK_INT(loaded.err, -EINVAL);
	CHECK(!loaded.model);
	CHECK_STR(loaded.diag.file, path);
	CHECK_INT(loaded.diag.line, 0);
	CHECK_STR(loaded.diag.reason, reason);
	unlink(path);
	rmdir(path);
	loaded_done(&loaded);
}

TEST(what_is_no_readable_file_is_refused)
{
	struct temp_dir dir = temp_dir_new();
	char path[768];

	temp_dir_write(&dir, "a.yaml", SERVICE); /* good, and refused with the rest */
	temp_dir_path(&dir, "b.yaml", path);
	CHECK_INT(symlink("nowhere", path), 0);
	check_refused(&dir, "b.yaml",
		      "cannot be opened: No such file or directory; see that it is there "
		      "and readable");
	CHECK_INT(mkdir(path, 0700), 0);
	check_refused(&dir, "b.yaml", "is not a regular file; take it out or rename it");
	CHECK_INT(mkfifo(path, 0600), 0); /* must not be waited for */
	check_refused(&dir, "b.yaml", "is not a regular file; take it out or rename it");
	temp_dir_write(&dir, "b.yaml", "");
	CHECK_INT(truncate(path, (64 << 20) + 1), 0);
	check_refused(&dir, "b.yaml", "is larger than 64 MiB; split it into several files");
	temp_dir_write(&dir, "b.yaml", "");
	{
		struct loaded loaded = load(dir.path);

		CHECK_INT(loaded.err, 0);
		loaded_done(&loaded);
	}
	temp_dir_done(&dir);
}

TEST(a_directory_that_is_none_is_refused_and_an_empty_one_is_not)
{
	struct temp_dir dir = temp_dir_new();
	struct loaded loaded = load(dir.path);
	char path[768];

	CHECK_INT(loaded.err, 0);
	CHECK_INT(loaded.model ? loaded.model->n_services : 7, 0);
	loaded_done(&loaded);
	temp_dir_path(&dir, "none", path);
	loaded = load(path);
	CHECK_INT(loaded.err, -EINVAL);
	CHECK(strstr(loaded.diag.reason, "cannot be listed: No such file") != NULL);
	loaded_done(&loaded);
	temp_dir_done(&dir);
}
