// SPDX-License-Identifier: GPL-2.0-only
/* The watch of a directory: every settled change is told once, whatever way files change. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "check.h"
#include "discover_file.h"
#include "temp_dir.h"

#define DEADLINE_MS (10000 * check_slow())
#define SERVICE(name, ip)                                                                          \
	"---\napiVersion: v1\nkind: Service\nmetadata: {name: " name ", labels: {sluice.dev/steer" \
	": enabled}}\nspec: {clusterIP: " ip ", ports: [{port: 80}]}\n"

static const struct policy_options options = {.node_name = "node-1"};

struct heard {
	unsigned models, diags;
	size_t n_services; /* of the last model */
	struct diag diag;  /* the last */
	struct discover_file *free_at_once;
	unsigned watches; /* calls of hear_watch() */
	int watch_error;  /* of the last */
};

static int inotify_error; /* 0: the kernel decides */

/* In libc's place, for libuv. */
int inotify_add_watch(int fd, const char *path, uint32_t mask)
{
	if (!inotify_error)
		return syscall(SYS_inotify_add_watch, fd, path, mask);
	errno = inotify_error;
	return -1;
}

static void hear(void *context, struct model *model, const struct verdicts *verdicts,
		 const struct diag *diag)
{
	struct heard *heard = context;

	CHECK(!model != !diag);
	CHECK(verdicts != NULL);
	heard->models += !!model;
	heard->diags += !!diag;
	if (model)
		heard->n_services = model->n_services;
	if (diag)
		heard->diag = *diag;
	model_free(model);
	discover_file_free(heard->free_at_once);
	heard->free_at_once = NULL;
}

static void hear_watch(void *context, const char *dir, int error)
{
	struct heard *heard = context;

	CHECK(access(dir, F_OK) == 0);
	heard->watches++;
	heard->watch_error = error;
}

static const struct discover_ops ops = {.on_input = hear, .on_watch = hear_watch};

struct watched {
	uv_loop_t loop;
	uv_timer_t alarm;
	struct temp_dir dir;
	struct heard heard;
	struct discover_file *discover;
};

static void on_alarm(uv_timer_t *alarm)
{
	uv_stop(alarm->loop);
}

static void start(struct watched *w, const char *first)
{
	*w = (struct watched){.dir = temp_dir_new()};
	temp_dir_write(&w->dir, "a.yaml", first);
	uv_loop_init(&w->loop);
	uv_timer_init(&w->loop, &w->alarm);
	CHECK_INT(discover_file_new(&w->loop, w->dir.path, &options, &ops, &w->heard, &w->discover),
		  0);
}

static void run_for(struct watched *w, unsigned ms)
{
	uv_timer_start(&w->alarm, on_alarm, ms, 0);
	uv_run(&w->loop, UV_RUN_DEFAULT);
	uv_timer_stop(&w->alarm);
}

/* Until so many calls were heard, or the deadline. */
static void wait_for(struct watched *w, unsigned models, unsigned diags)
{
	uint64_t until = uv_hrtime() + DEADLINE_MS * 1000000ull;

	while ((w->heard.models < models || w->heard.diags < diags) && uv_hrtime() < until)
		run_for(w, 10);
	CHECK_INT(w->heard.models, models);
	CHECK_INT(w->heard.diags, diags);
}

static void stop(struct watched *w)
{
	discover_file_free(w->discover);
	uv_close((uv_handle_t *)&w->alarm, NULL);
	uv_run(&w->loop, UV_RUN_DEFAULT);
	CHECK_INT(uv_loop_close(&w->loop), 0); /* nothing of it is left in the loop */
	temp_dir_done(&w->dir);
}

TEST(changes_of_every_manner_are_told)
{
	struct watched w;
	char from[768], to[768];

	start(&w, SERVICE("a", "10.9.0.1"));
	wait_for(&w, 1, 0);
	CHECK_INT(w.heard.n_services, 1);
	temp_dir_write(&w.dir, "a.yaml", SERVICE("a", "10.9.0.1") SERVICE("b", "10.9.0.2"));
	wait_for(&w, 2, 0);
	CHECK_INT(w.heard.n_services, 2);
	temp_dir_write(&w.dir, ".swap", SERVICE("c", "10.9.0.3")); /* as editors save: */
	CHECK_INT(rename(temp_dir_path(&w.dir, ".swap", from), temp_dir_path(&w.dir, "a.yaml", to)),
		  0);
	wait_for(&w, 3, 0);
	CHECK_INT(w.heard.n_services, 1);
	CHECK_INT(unlink(to), 0);
	wait_for(&w, 4, 0);
	CHECK_INT(w.heard.n_services, 0);
	stop(&w);
}

TEST(a_bad_change_is_told_and_a_good_one_follows)
{
	struct watched w;

	start(&w, SERVICE("a", "10.9.0.1"));
	wait_for(&w, 1, 0);
	temp_dir_write(&w.dir, "b.yaml", "kind: [\n");
	wait_for(&w, 1, 1);
	CHECK(strstr(w.heard.diag.file, "/b.yaml") != NULL);
	temp_dir_write(&w.dir, "b.yaml", SERVICE("b", "10.9.0.2"));
	wait_for(&w, 2, 1);
	CHECK_INT(w.heard.n_services, 2);
	stop(&w);
}

TEST(a_burst_of_changes_is_told_once)
{
	struct watched w;
	char name[32], text[256];

	start(&w, SERVICE("a", "10.9.0.1"));
	wait_for(&w, 1, 0);
	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "b%d.yaml", i);
		snprintf(text, sizeof(text), SERVICE("b%d", "10.9.1.%d"), i, i);
		temp_dir_write(&w.dir, name, text);
	}
	wait_for(&w, 2, 0);
	CHECK_INT(w.heard.n_services, 21);
	run_for(&w, 400);
	CHECK_INT(w.heard.models, 2);
	stop(&w);
}

TEST(a_directory_that_is_never_quiet_is_read_within_a_second)
{
	struct watched w;
	uint64_t begun, last, pause_ms = 0;

	start(&w, SERVICE("a", "10.9.0.1"));
	wait_for(&w, 1, 0);
	begun = last = uv_hrtime();
	while (w.heard.models < 2 && uv_hrtime() - begun < DEADLINE_MS * 1000000ull) {
		temp_dir_write(&w.dir, "a.yaml", SERVICE("a", "10.9.0.1"));
		run_for(&w, 20);
		if (uv_hrtime() - last > pause_ms * 1000000)
			pause_ms = (uv_hrtime() - last) / 1000000;
		last = uv_hrtime();
	}
	CHECK_INT(w.heard.models, 2);
	stop(&w);
	if (pause_ms > 80)
		SKIP("the machine paused for so long that the directory was quiet");
	CHECK(last - begun >= 900 * 1000000ull); /* it did wait for quiet */
	CHECK(last - begun < 3000 * 1000000ull);
}

TEST(other_files_do_not_disturb)
{
	struct watched w;

	start(&w, SERVICE("a", "10.9.0.1"));
	wait_for(&w, 1, 0);
	temp_dir_write(&w.dir, ".a.yaml.swp", "x");
	temp_dir_write(&w.dir, "README", "x");
	run_for(&w, 300);
	CHECK_INT(w.heard.models, 1);
	stop(&w);
}

TEST(a_mounted_config_map_swaps_its_link)
{
	struct watched w;
	char path[768], to[768];

	start(&w, SERVICE("a", "10.9.0.1"));
	wait_for(&w, 1, 0);
	CHECK_INT(mkdir(temp_dir_path(&w.dir, "..1", path), 0700), 0);
	CHECK_INT(mkdir(temp_dir_path(&w.dir, "..2", path), 0700), 0);
	temp_dir_write(&w.dir, "..1/b.yaml", SERVICE("b", "10.9.0.2"));
	temp_dir_write(&w.dir, "..2/b.yaml", SERVICE("b", "10.9.0.2") SERVICE("c", "10.9.0.3"));
	CHECK_INT(symlink("..1", temp_dir_path(&w.dir, "..data", path)), 0);
	CHECK_INT(symlink("..data/b.yaml", temp_dir_path(&w.dir, "b.yaml", path)), 0);
	wait_for(&w, 2, 0);
	CHECK_INT(w.heard.n_services, 2);
	CHECK_INT(symlink("..2", temp_dir_path(&w.dir, "..data_tmp", path)), 0);
	CHECK_INT(rename(path, temp_dir_path(&w.dir, "..data", to)), 0);
	wait_for(&w, 3, 0);
	CHECK_INT(w.heard.n_services, 3);
	stop(&w);
}

TEST(a_directory_may_go_and_come_back)
{
	struct watched w;
	char path[768];

	start(&w, SERVICE("a", "10.9.0.1"));
	wait_for(&w, 1, 0);
	CHECK_INT(unlink(temp_dir_path(&w.dir, "a.yaml", path)), 0);
	CHECK_INT(rmdir(w.dir.path), 0);
	wait_for(&w, 1, 1);
	CHECK(strstr(w.heard.diag.reason, "cannot be listed") != NULL);
	CHECK_INT(mkdir(w.dir.path, 0700), 0);
	temp_dir_write(&w.dir, "a.yaml", SERVICE("a", "10.9.0.1") SERVICE("b", "10.9.0.2"));
	wait_for(&w, 2, 1);
	CHECK_INT(w.heard.n_services, 2);
	temp_dir_write(&w.dir, "a.yaml", SERVICE("a", "10.9.0.1")); /* the new one is watched */
	wait_for(&w, 3, 1);
	CHECK_INT(w.heard.n_services, 1);
	stop(&w);
}

TEST(a_directory_replaced_in_one_step_is_followed_by_name)
{
	struct watched w;
	struct temp_dir other = temp_dir_new();
	char path[768];

	start(&w, SERVICE("a", "10.9.0.1"));
	wait_for(&w, 1, 0);
	temp_dir_write(&other, "z.yaml", SERVICE("y", "10.9.0.2") SERVICE("z", "10.9.0.3"));
	CHECK_INT(unlink(temp_dir_path(&w.dir, "a.yaml", path)), 0);
	CHECK_INT(rename(other.path, w.dir.path), 0);
	wait_for(&w, 2, 0);
	CHECK_INT(w.heard.n_services, 2);
	stop(&w);
}

/* Beyond the user's limits: said once, changes are told once each, and what stays the same is not. */
TEST(without_inotify_it_looks_every_second)
{
	uint64_t until = uv_hrtime() + 3 * DEADLINE_MS * 1000000ull;
	struct watched w;
	char path[768];

	inotify_error = ENOSPC;
	start(&w, SERVICE("a", "10.9.0.1"));
	CHECK_INT(w.heard.watches, 1);
	CHECK_INT(w.heard.watch_error, -ENOSPC);
	wait_for(&w, 1, 0);
	run_for(&w, 3300); /* three looks; the file is young in the first two */
	CHECK_INT(w.heard.models, 1);
	temp_dir_write(&w.dir, "b.yaml", SERVICE("b", "10.9.0.2"));
	wait_for(&w, 2, 0);
	CHECK_INT(w.heard.n_services, 2);
	temp_dir_write(&w.dir, "b.yaml", "kind: [\n");
	wait_for(&w, 2, 1);
	run_for(&w, 2200); /* as bad as it was */
	CHECK_INT(w.heard.diags, 1);
	CHECK_INT(unlink(temp_dir_path(&w.dir, "b.yaml", path)), 0);
	wait_for(&w, 3, 1);
	CHECK_INT(w.heard.n_services, 1);
	CHECK_INT(w.heard.watches, 1);
	inotify_error = 0;
	while (w.heard.watches < 2 && uv_hrtime() < until)
		run_for(&w, 10);
	CHECK_INT(w.heard.watches, 2);
	CHECK_INT(w.heard.watch_error, 0);
	run_for(&w, 1200);
	CHECK_INT(w.heard.models, 3);
	temp_dir_write(&w.dir, "a.yaml", SERVICE("a", "10.9.0.1") SERVICE("c", "10.9.0.3"));
	wait_for(&w, 4, 1);
	CHECK_INT(w.heard.n_services, 2);
	stop(&w);
}

TEST(freed_at_once_while_it_reads)
{
	struct watched w;

	start(&w, SERVICE("a", "10.9.0.1"));
	stop(&w);
	CHECK_INT(w.heard.models + w.heard.diags, 0);
}

TEST(freed_from_within_its_call)
{
	struct watched w;

	start(&w, SERVICE("a", "10.9.0.1"));
	w.heard.free_at_once = w.discover;
	w.discover = NULL;
	wait_for(&w, 1, 0);
	stop(&w);
}

TEST(what_cannot_be_watched_is_refused_at_once)
{
	struct discover_file *discover;
	uv_loop_t loop;

	uv_loop_init(&loop);
	CHECK_INT(discover_file_new(&loop, "/nonexistent", &options, &ops, NULL, &discover),
		  -ENOENT);
	CHECK_INT(discover_file_new(&loop, "/dev/null", &options, &ops, NULL, &discover), -ENOTDIR);
	CHECK_INT(uv_loop_close(&loop), 0);
}
