// SPDX-License-Identifier: GPL-2.0-only
/* A directory that is read again and again: only files that changed are decoded, no change is
 * missed, and what comes out is what a first reading would give. */
#include <arpa/inet.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "discover_file.h"
#include "temp_dir.h"

#define SERVICE                                                                                    \
	"apiVersion: v1\nkind: Service\nmetadata: {name: llm, labels: {sluice.dev/steer: "         \
	"enabled}}\nspec: {clusterIP: 10.9.0.1, ports: [{port: 80}]}\n"
#define SLICE(ip)                                                                                  \
	"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: s, labels: "       \
	"{kubernetes.io/service-name: llm}}\naddressType: IPv4\nports: [{port: 80}]\n"             \
	"endpoints: [{addresses: [" ip "], targetRef: {kind: Pod, name: p}}]\n"
#define POD(weight)                                                                                \
	"apiVersion: v1\nkind: Pod\nmetadata: {name: p, annotations: {sluice.dev/weight: '"        \
	weight "'}}\nspec: {containers: [{readinessProbe: {tcpSocket: {port: 80}}}]}\n"

struct fixture {
	struct temp_dir dir;
	struct manifest_dir *manifests;
	int err; /* of the last reading: */
	struct model *model;
	struct verdicts verdicts;
	struct diag diag;
	unsigned decoded; /* files, by it alone */
};

static void forget(struct fixture *f)
{
	model_free(f->model);
	verdicts_done(&f->verdicts);
	f->model = NULL;
	f->diag = (struct diag){};
}

static void read_dir(struct fixture *f)
{
	static const struct policy_options options = {.node_name = "node-1"};
	uint64_t before = manifest_dir_decoded(f->manifests);

	forget(f);
	f->err = discover_file_load(f->manifests, &options, &f->verdicts, &f->model, &f->diag);
	f->decoded = (unsigned)(manifest_dir_decoded(f->manifests) - before);
}

static void begin(struct fixture *f)
{
	*f = (struct fixture){.dir = temp_dir_new()};
	CHECK_INT(manifest_dir_new(f->dir.path, &f->manifests), 0);
}

/* Service, slice and Pod, a file each. */
static void begin_with_three(struct fixture *f)
{
	begin(f);
	temp_dir_write(&f->dir, "pod.yaml", POD("7"));
	temp_dir_write(&f->dir, "service.yaml", SERVICE);
	temp_dir_write(&f->dir, "slice.yaml", SLICE("10.1.0.1"));
	read_dir(f);
	CHECK_INT(f->decoded, 3);
}

static void end(struct fixture *f)
{
	forget(f);
	manifest_dir_free(f->manifests);
	temp_dir_done(&f->dir);
}

/* The one replica of the one service, or one that is all zero. */
static struct model_replica replica_of(const struct fixture *f)
{
	if (f->err || f->model->n_services != 1 || f->model->services[0].n_replicas != 1)
		return (struct model_replica){};
	return f->model->services[0].replicas[0];
}

/* The last byte of its address. */
static unsigned address_of(const struct fixture *f)
{
	return replica_of(f).addr.b[15];
}

static unsigned count_verdicts(const struct fixture *f, const char *reason)
{
	unsigned n = 0;

	for (size_t i = 0; i < f->verdicts.n; i++)
		n += strstr(f->verdicts.list[i].reason, reason) != NULL;
	return n;
}

static void remove_file(struct fixture *f, const char *name)
{
	char path[768];

	CHECK_INT(unlink(temp_dir_path(&f->dir, name, path)), 0);
}

static struct stat stat_of(const struct fixture *f, const char *name)
{
	struct stat st = {};
	char path[768];

	CHECK_INT(stat(temp_dir_path(&f->dir, name, path), &st), 0);
	return st;
}

TEST(only_what_changed_is_decoded)
{
	struct fixture f;

	begin_with_three(&f);
	CHECK_INT(replica_of(&f).weight, 7);
	read_dir(&f);
	CHECK_INT(f.decoded, 0);
	CHECK_INT(replica_of(&f).weight, 7);
	temp_dir_write(&f.dir, "pod.yaml", POD("8"));
	read_dir(&f);
	CHECK_INT(f.decoded, 1);
	CHECK_INT(replica_of(&f).weight, 8); /* the slice, not decoded again, leads to the new Pod */
	temp_dir_write(&f.dir, "slice.yaml", SLICE("10.1.0.2"));
	temp_dir_write(&f.dir, "service.yaml", SERVICE "# a comment\n");
	read_dir(&f);
	CHECK_INT(f.decoded, 2);
	CHECK_INT(address_of(&f), 2);
	CHECK_INT(replica_of(&f).weight, 8);
	end(&f);
}

TEST(the_same_bytes_are_not_decoded_again)
{
	struct fixture f;
	char from[768], to[768];

	begin_with_three(&f);
	temp_dir_write(&f.dir, "pod.yaml", POD("7"));
	temp_dir_write(&f.dir, ".new", SERVICE);
	CHECK_INT(rename(temp_dir_path(&f.dir, ".new", from),
			 temp_dir_path(&f.dir, "service.yaml", to)), 0);
	read_dir(&f);
	CHECK_INT(f.decoded, 0);
	CHECK_INT(replica_of(&f).weight, 7);
	end(&f);
}

static bool same_stamp(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       !memcmp(&a->st_mtim, &b->st_mtim, sizeof(a->st_mtim)) &&
	       !memcmp(&a->st_ctim, &b->st_ctim, sizeof(a->st_ctim));
}

/* A file system whose clock has ticks: others have had times of their own for each write since Linux
 * 6.13. For this process alone. */
static bool mount_ramfs(const struct fixture *f)
{
	return !unshare(CLONE_NEWNS) &&
	       !mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) &&
	       !mount("none", f->dir.path, "ramfs", 0, NULL);
}

/* As often as it takes for two writes to fall into one tick. */
TEST(a_rewrite_that_leaves_all_times_as_they_were_is_seen)
{
	struct fixture f;
	unsigned raced = 0;

	begin(&f);
	if (!mount_ramfs(&f)) {
		end(&f);
		SKIP("no ramfs can be mounted: needs root");
	}
	temp_dir_write(&f.dir, "service.yaml", SERVICE);
	temp_dir_write(&f.dir, "slice.yaml", SLICE("10.1.0.1"));
	read_dir(&f);
	for (unsigned i = 0; i < 2000 && raced < 3; i++) {
		struct stat before = stat_of(&f, "slice.yaml"), after;

		temp_dir_write(&f.dir, "slice.yaml", i % 2 ? SLICE("10.1.0.1") : SLICE("10.1.0.2"));
		after = stat_of(&f, "slice.yaml");
		raced += same_stamp(&before, &after);
		read_dir(&f);
		CHECK_INT(f.decoded, 1);
		CHECK_INT(address_of(&f), i % 2 ? 1 : 2);
	}
	CHECK(raced > 0);
	CHECK_INT(umount(f.dir.path), 0);
	end(&f);
}

TEST(an_old_file_that_is_rewritten_in_place_is_seen)
{
	struct fixture f;

	begin_with_three(&f);
	while (time(NULL) - stat_of(&f, "slice.yaml").st_ctim.tv_sec <= 2)
		usleep(50000);
	read_dir(&f); /* from here on its times are believed */
	read_dir(&f);
	CHECK_INT(f.decoded, 0);
	temp_dir_write(&f.dir, "slice.yaml", SLICE("10.1.0.2"));
	read_dir(&f);
	CHECK_INT(f.decoded, 1);
	CHECK_INT(address_of(&f), 2);
	end(&f);
}

TEST(a_file_renamed_over_another_is_seen)
{
	struct fixture f;
	char from[768], to[768];

	begin_with_three(&f);
	temp_dir_write(&f.dir, ".new", SLICE("10.1.0.2"));
	CHECK_INT(rename(temp_dir_path(&f.dir, ".new", from),
			 temp_dir_path(&f.dir, "slice.yaml", to)), 0);
	read_dir(&f);
	CHECK_INT(f.decoded, 1);
	CHECK_INT(address_of(&f), 2);
	CHECK_INT(rename(to, temp_dir_path(&f.dir, "a.yaml", from)), 0); /* another name: decoded */
	read_dir(&f);
	CHECK_INT(f.decoded, 1);
	CHECK_INT(address_of(&f), 2);
	end(&f);
}

TEST(a_file_that_goes_takes_its_objects_along)
{
	struct fixture f;

	begin_with_three(&f);
	remove_file(&f, "pod.yaml");
	read_dir(&f);
	CHECK_INT(f.decoded, 0);
	CHECK_INT(replica_of(&f).weight, MODEL_WEIGHT_DEFAULT);
	temp_dir_write(&f.dir, "pod.yaml", POD("9"));
	read_dir(&f);
	CHECK_INT(f.decoded, 1);
	CHECK_INT(replica_of(&f).weight, 9);
	remove_file(&f, "service.yaml");
	for (unsigned i = 0; i < 3; i++) { /* what is said of loose ends is said each time, once */
		read_dir(&f);
		CHECK_INT(f.decoded, 0);
		CHECK_INT(f.model ? f.model->n_services : 9, 0);
		CHECK_INT(count_verdicts(&f, "the slice is left out"), 1);
	}
	temp_dir_write(&f.dir, "service.yaml", SERVICE);
	read_dir(&f);
	CHECK_INT(replica_of(&f).weight, 9);
	CHECK_INT(count_verdicts(&f, "the slice is left out"), 0);
	end(&f);
}

TEST(a_bad_file_is_refused_until_it_is_good)
{
	struct fixture f;
	char path[768];

	begin_with_three(&f);
	temp_dir_write(&f.dir, "pod.yaml", "# one line more\n" POD("0"));
	temp_dir_path(&f.dir, "pod.yaml", path);
	for (unsigned i = 0; i < 2; i++) { /* the bad one alone is decoded again */
		read_dir(&f);
		CHECK_INT(f.err, -EINVAL);
		CHECK(!f.model);
		CHECK_INT(f.decoded, 1);
		CHECK_STR(f.diag.file, path);
		CHECK_INT(f.diag.line, 4);
		CHECK_STR(f.diag.field, "metadata.annotations[sluice.dev/weight]");
	}
	temp_dir_write(&f.dir, "slice.yaml", SLICE("10.1.0.2")); /* waits for the good one */
	read_dir(&f);
	CHECK_INT(f.err, -EINVAL);
	temp_dir_write(&f.dir, "pod.yaml", POD("7")); /* what it was before the bad one */
	read_dir(&f);
	CHECK_INT(f.decoded, 2);
	CHECK_INT(replica_of(&f).weight, 7);
	CHECK_INT(address_of(&f), 2);
	end(&f);
}

TEST(good_files_may_change_beside_a_bad_one)
{
	struct fixture f;

	begin_with_three(&f);
	temp_dir_write(&f.dir, "z.yaml", "{");
	for (unsigned i = 0; i < 4; i++) {
		temp_dir_write(&f.dir, "pod.yaml", i % 2 ? POD("3") : POD("4"));
		read_dir(&f);
		CHECK_INT(f.err, -EINVAL);
		CHECK_INT(f.decoded, 2);
	}
	remove_file(&f, "z.yaml");
	read_dir(&f);
	CHECK_INT(f.decoded, 0);
	CHECK_INT(replica_of(&f).weight, 3);
	end(&f);
}

TEST(doubles_in_several_files_are_found_whichever_comes_first)
{
	static const char *const names[] = {"a.yaml", "z.yaml"};
	struct fixture f;
	char later[768];

	for (unsigned i = 0; i < 2; i++) {
		begin_with_three(&f);
		temp_dir_write(&f.dir, names[i], "---\n" SERVICE);
		temp_dir_path(&f.dir, i ? "z.yaml" : "service.yaml", later);
		for (unsigned k = 0; k < 2; k++) {
			read_dir(&f);
			CHECK_INT(f.err, -EINVAL);
			CHECK_INT(f.decoded, !k);
			CHECK_STR(f.diag.file, later);
			CHECK_INT(f.diag.line, i ? 2 : 1);
			CHECK_STR(f.diag.field, "metadata.name");
		}
		remove_file(&f, i ? "service.yaml" : names[i]); /* either may go */
		read_dir(&f);
		CHECK_INT(f.decoded, 0);
		CHECK_INT(replica_of(&f).weight, 7);
		end(&f);
	}
}

TEST(an_endpoint_follows_its_pod_from_file_to_file)
{
	struct fixture f;

	begin_with_three(&f);
	temp_dir_write(&f.dir, "pod2.yaml", POD("8"));
	read_dir(&f);
	CHECK_INT(f.err, -EINVAL); /* a double */
	remove_file(&f, "pod.yaml");
	read_dir(&f);
	CHECK_INT(f.decoded, 0);
	CHECK_INT(replica_of(&f).weight, 8);
	end(&f);
}

/* A slice or a Pod, of a name that one other file may have too. */
static void write_any(struct fixture *f, const char *name, unsigned number)
{
	char text[1024];

	if (number < 6)
		snprintf(text, sizeof(text),
			 "apiVersion: v1\nkind: Pod\nmetadata: {name: p%u, annotations: {"
			 "sluice.dev/weight: '%u'}}\nspec: {containers: [{readinessProbe: "
			 "{tcpSocket: {port: %u}}}]}\n",
			 number / 2, 1 + (unsigned)rand() % 3, 80 + (unsigned)rand() % 2);
	else
		snprintf(text, sizeof(text),
			 "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: s%u, "
			 "labels: {kubernetes.io/service-name: llm}}\naddressType: IPv4\nports: "
			 "[{port: 80}]\nendpoints: [{addresses: [10.1.0.%u], targetRef: {kind: Pod, "
			 "name: p%u}}]\n",
			 number / 2, 1 + (unsigned)rand() % 200, (unsigned)rand() % 3);
	temp_dir_write(&f->dir, name, text);
}

static void check_same_replicas(const struct model *a, const struct model *b)
{
	CHECK(a && b && a->n_services == 1 && b->n_services == 1);
	CHECK_INT(a->services[0].n_replicas, b->services[0].n_replicas);
	for (size_t i = 0; i < b->services[0].n_replicas; i++) {
		const struct model_replica *x = &a->services[0].replicas[i];
		const struct model_replica *y = &b->services[0].replicas[i];

		CHECK_INT(x->addr.b[15], y->addr.b[15]);
		CHECK_INT(x->weight, y->weight);
		CHECK(model_probe_equal(&x->probe, &y->probe));
	}
}

static void check_same(const struct fixture *a, const struct fixture *b)
{
	CHECK_INT(a->err, b->err);
	CHECK_STR(a->diag.reason, b->diag.reason);
	CHECK_STR(a->diag.file, b->diag.file);
	CHECK_INT(a->verdicts.n, b->verdicts.n);
	for (size_t i = 0; i < a->verdicts.n && i < b->verdicts.n; i++) {
		CHECK_STR(a->verdicts.list[i].object, b->verdicts.list[i].object);
		CHECK_STR(a->verdicts.list[i].reason, b->verdicts.list[i].reason);
		CHECK_INT(a->verdicts.list[i].line, b->verdicts.list[i].line);
	}
	if (!a->err && !b->err)
		check_same_replicas(a->model, b->model);
}

/* Files that come, change and go at random: after each step what comes out is what a first reading
 * of the same directory gives. */
TEST(reading_again_gives_what_reading_at_first_does)
{
	struct fixture f, fresh;
	unsigned good = 0;

	srand(1);
	begin(&f);
	temp_dir_write(&f.dir, "service.yaml", SERVICE);
	for (unsigned i = 0; i < 300; i++) {
		unsigned number = (unsigned)rand() % 12;
		char name[32];

		snprintf(name, sizeof(name), "%c%u.yaml", number % 2 ? 'a' : 'z', number);
		write_any(&f, name, number);
		if (rand() % 2)
			remove_file(&f, name);
		read_dir(&f);
		fresh = (struct fixture){};
		CHECK_INT(manifest_dir_new(f.dir.path, &fresh.manifests), 0);
		read_dir(&fresh);
		check_same(&f, &fresh);
		good += !f.err;
		forget(&fresh);
		manifest_dir_free(fresh.manifests);
	}
	CHECK(good > 30 && good < 270);
	end(&f);
}
