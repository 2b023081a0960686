// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns the loaded skeleton, the mapped arrays and what is pinned. Refuses maps
 * of another layout rather than guess. Fills in only what the programs need to
 * run at all (control row, timer); rows are reconcile's business. Called by
 * agent and main.
 */
#include "datapath.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "fast.h"
#include "others.h"
#include "pin_dir.h"
#include "pins.h"
#include "sluice.skel.h"
#include "xdp.h"

struct mapping {
	void *memory;
	size_t bytes;
};

#define MAPPINGS 16

struct datapath {
	struct sluice_bpf *skeleton;
	struct tables tables;
	struct attach attach;
	bool adopted;
	struct mapping mappings[MAPPINGS];
	unsigned n_mappings;
	char links_dir[PATH_MAX];
	int lock_fd; /* of the directory: held as long as this agent lives, however it ends */
};

static int fail(char *error, size_t len, int code, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static int fail(char *error, size_t len, int code, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error, len, format, args);
	va_end(args);
	return code;
}

/* ---- what an earlier agent left -----------------------------------------------------*/

/* Reads the pinned control row. 0, or -ENOENT: there is none; -EPROTO: of another layout. */
static int control_read(const char *bpffs, struct sl_control *ret)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info), row = 0;
	char path[PATH_MAX];
	int fd, code = 0;

	snprintf(path, sizeof(path), "%s/control", bpffs);
	fd = bpf_obj_get(path);
	if (fd < 0)
		return -errno;
	if (bpf_obj_get_info_by_fd(fd, &info, &len) || info.value_size != sizeof(*ret) ||
	    bpf_map_lookup_elem(fd, &row, ret))
		code = -EPROTO;
	/* 0: an agent died between creating the map and filling it. */
	else if (ret->layout != SL_LAYOUT_VERSION && ret->layout != 0)
		code = -EPROTO;
	close(fd);
	return code;
}

/* Jiffies per second: the coarse clock advances once a tick (kernel/time/posix-timers.c). */
static __u32 kernel_hz(void)
{
	struct timespec tick;

	if (clock_getres(CLOCK_MONOTONIC_COARSE, &tick) || tick.tv_nsec <= 0)
		return 250;
	return (1000000000 + tick.tv_nsec / 2) / tick.tv_nsec;
}

/* ---- loading --------------------------------------------------------------------------*/

static int map_array(struct datapath *datapath, struct bpf_map *map, void *ret)
{
	size_t page = sysconf(_SC_PAGESIZE);
	size_t bytes = (size_t)bpf_map__value_size(map) * bpf_map__max_entries(map);
	void *memory;

	bytes = (bytes + page - 1) / page * page;
	memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);
	if (memory == MAP_FAILED)
		return -errno;
	datapath->mappings[datapath->n_mappings++] = (struct mapping){memory, bytes};
	*(void **)ret = memory;
	return 0;
}

static int map_tables(struct datapath *datapath)
{
	struct sluice_bpf *s = datapath->skeleton;
	struct tables *t = &datapath->tables;
	int code = map_array(datapath, s->maps.control, &t->control);

	code = code ?: map_array(datapath, s->maps.kernel, &t->kernel);
	code = code ?: map_array(datapath, s->maps.filters, &t->filters);
	code = code ?: map_array(datapath, s->maps.addr_index, &t->addr_index);
	code = code ?: map_array(datapath, s->maps.vips, &t->vips);
	code = code ?: map_array(datapath, s->maps.services, &t->services);
	code = code ?: map_array(datapath, s->maps.members, &t->members);
	code = code ?: map_array(datapath, s->maps.replicas, &t->replicas);
	code = code ?: map_array(datapath, s->maps.replica_services, &t->replica_services);
	code = code ?: map_array(datapath, s->maps.outliers, &t->outliers);
	code = code ?: map_array(datapath, s->maps.service_states, &t->service_states);
	code = code ?: map_array(datapath, s->maps.sources, &t->sources);
	code = code ?: map_array(datapath, s->maps.event_head, &t->event_head);
	t->flows_fd = bpf_map__fd(s->maps.flows);
	t->events_fd = bpf_map__fd(s->maps.events);
	t->spill_fd = bpf_map__fd(s->maps.spill);
	t->pending_fd = bpf_map__fd(s->maps.pending);
	t->wakeups_fd = bpf_map__fd(s->maps.wakeups);
	t->inject_fd = bpf_program__fd(s->progs.inject);
	t->eject_fd = bpf_program__fd(s->progs.eject_now);
	t->reset_flows_fd = bpf_program__fd(s->progs.reset_flows);
	t->route_mtus_fd = bpf_map__fd(s->maps.route_mtus);
	t->service_names_fd = bpf_map__fd(s->maps.service_names);
	t->replica_names_fd = bpf_map__fd(s->maps.replica_names);
	return code;
}

/* The object of the programs lies in the agent's own file: nearly 2 MiB of memory that only loading needs.
 * Read again, it comes from the file. */
static void leave_object(void)
{
	size_t bytes, page = sysconf(_SC_PAGESIZE);
	uintptr_t begin = (uintptr_t)sluice_bpf__elf_bytes(&bytes), end = begin + bytes;

	begin = (begin + page - 1) & ~(page - 1);
	madvise((void *)begin, (end & ~(page - 1)) - begin, MADV_DONTNEED);
}

static int load(struct datapath *datapath, const struct datapath_options *options,
		const struct sl_control *control)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts, .pin_root_path = options->bpffs);
	struct sluice_bpf *s = sluice_bpf__open_opts(&opts);
	int error;

	if (!s)
		return -errno;
	datapath->skeleton = s;
	s->rodata->seed = control->seed;
	s->rodata->hz = control->hz;
	s->rodata->node_ifindex = options->node_ifindex;
	s->rodata->snat_port_min = options->snat_port_min;
	s->rodata->snat_port_max = options->snat_port_max;
	s->rodata->fast_path = control->fast_path & SL_FAST_PATH_FLOWS;
	s->rodata->fast_path_new = control->fast_path & SL_FAST_PATH_NEW;
	if (xdp_has_frags())
		bpf_program__set_flags(s->progs.uplink, BPF_F_XDP_HAS_FRAGS);
	error = sluice_bpf__load(s);
	leave_object();
	return error;
}

static int pin_programs(struct datapath *datapath, const char *bpffs)
{
	struct bpf_program *program;
	char path[PATH_MAX];

	bpf_object__for_each_program(program, datapath->skeleton->obj) {
		snprintf(path, sizeof(path), "%s/progs/%s", bpffs, bpf_program__name(program));
		if (unlink(path) && errno != ENOENT)
			return -errno;
		if (bpf_obj_pin(bpf_program__fd(program), path))
			return -errno;
	}
	return 0;
}

/* Timers get their memory without waiting: a kernel that is busy may have none at that moment (seen on
 * 6.18), and has some a moment later. */
#define ARM_TRIES 100
#define ARM_PAUSE_US 10000

static int arm_sweep(struct datapath *datapath)
{
	char frame[64] = {}; /* what the kernel wants at least; the program looks at none of it */
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = sizeof(frame));
	int fd = bpf_program__fd(datapath->skeleton->progs.sweep_arm);

	for (int i = 0; i < ARM_TRIES; i++) {
		if (bpf_prog_test_run_opts(fd, &opts))
			return -errno;
		if ((int)opts.retval != -ENOMEM)
			break;
		usleep(ARM_PAUSE_US);
	}
	return (int)opts.retval;
}

static void fill_control(struct sl_control *row, const struct datapath_options *options,
			 const struct sl_control *control)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	row->agent_pid = getpid();
	row->seed = control->seed;
	row->started_ns = now.tv_sec * 1000000000ull + now.tv_nsec;
	row->hz = control->hz;
	row->fast_path = control->fast_path;
	row->snat_port_min = options->snat_port_min;
	row->snat_port_max = options->snat_port_max;
	row->xdp = options->xdp;
	__atomic_store_n(&row->layout, SL_LAYOUT_VERSION, __ATOMIC_RELEASE);
}

/* Locks the directory and reads the control row; -ENOENT there is a fresh start. 0, or -errno. */
static int claim(struct datapath *datapath, const char *bpffs, bool fast_path,
		 struct sl_control *ret, char *error, size_t len)
{
	int code;

	datapath->lock_fd = pin_dir_lock(bpffs);
	code = control_read(bpffs, ret);
	if (datapath->lock_fd == -EBUSY)
		return fail(error, len, -EBUSY,
			    "another sluiced (pid %u) runs on %s: stop it first, or give this one "
			    "a directory of its own with --bpffs", ret->agent_pid, bpffs);
	if (datapath->lock_fd < 0)
		return fail(error, len, datapath->lock_fd, "cannot lock %s: %s%s", bpffs,
			    strerror(-datapath->lock_fd), pin_dir_hint(datapath->lock_fd));
	if (code == -EPROTO)
		return fail(error, len, code,
			    "the maps pinned below %s have another layout (of another version of "
			    "Sluice): run `sluiced --unload --bpffs %s` first; open flows are lost",
			    bpffs, bpffs);
	if (code && code != -ENOENT)
		return fail(error, len, code, "cannot read %s/control: %s%s", bpffs, strerror(-code),
			    pin_dir_hint(code));
	datapath->adopted = code == 0 && ret->layout == SL_LAYOUT_VERSION;
	if (!datapath->adopted && getrandom(&ret->seed, sizeof(ret->seed), 0) != sizeof(ret->seed))
		ret->seed = (uintptr_t)datapath ^ time(NULL);
	ret->hz = kernel_hz();
	if (fast_path)
		ret->fast_path = SL_FAST_PATH_FLOWS | SL_FAST_PATH_NEW;
	else if (ret->fast_path & SL_FAST_PATH_NEW) /* its programs still begin some */
		ret->fast_path = SL_FAST_PATH_FLOWS;
	else if (ret->fast_path && !fast_has_flows(bpffs))
		ret->fast_path = 0;
	return 0;
}

/* Everything into the kernel, nothing at an interface yet. 0, or -errno. */
static int fill(struct datapath *datapath, const struct datapath_options *options,
		const struct sl_control *control, char *error, size_t len)
{
	int code = load(datapath, options, control);

	if (code)
		return fail(error, len, code,
			    "the kernel refused the programs or maps: %s%s; `sluice doctor` says "
			    "what it lacks", strerror(-code),
			    pin_dir_hint(code));
	code = map_tables(datapath);
	code = code ?: pin_programs(datapath, options->bpffs);
	if (code)
		return fail(error, len, code, "cannot map or pin below %s: %s", options->bpffs,
			    strerror(-code));
	fill_control(datapath->tables.control, options, control);
	code = arm_sweep(datapath);
	if (code)
		return fail(error, len, code, "the kernel refused the sweep's timer: %s",
			    strerror(-code));
	return 0;
}

int datapath_open(const struct datapath_options *options, struct datapath **ret, char *error,
		  size_t error_len)
{
	struct datapath *datapath = calloc(1, sizeof(*datapath));
	struct sl_control control = {};
	char ignored[256];
	unsigned removed;
	bool fresh;
	int code;

	if (!datapath)
		return fail(error, error_len, -ENOMEM, "out of memory");
	datapath->lock_fd = -1;
	snprintf(datapath->links_dir, sizeof(datapath->links_dir), "%s/links", options->bpffs);
	datapath->attach.links_dir = datapath->links_dir;
	code = pin_dir_make(options->bpffs, error, error_len);
	code = code ?: claim(datapath, options->bpffs, options->fast_path, &control, error, error_len);
	if (code) {
		datapath_close(datapath);
		return code;
	}
	datapath->attach.tcx = attach_has_tcx();
	code = fill(datapath, options, &control, error, error_len);
	if (!code) {
		*ret = datapath;
		return 0;
	}
	fresh = !datapath->adopted;
	datapath_close(datapath);
	if (fresh) /* `error` keeps the first reason */
		datapath_unload(options->bpffs, &removed, ignored, sizeof(ignored));
	return code;
}

void datapath_close(struct datapath *datapath)
{
	if (!datapath)
		return;
	for (unsigned i = 0; i < datapath->n_mappings; i++)
		munmap(datapath->mappings[i].memory, datapath->mappings[i].bytes);
	sluice_bpf__destroy(datapath->skeleton);
	if (datapath->lock_fd >= 0)
		close(datapath->lock_fd);
	free(datapath);
}

struct tables *datapath_tables(struct datapath *datapath)
{
	return &datapath->tables;
}

bool datapath_is_adopted(const struct datapath *datapath)
{
	return datapath->adopted;
}

bool datapath_has_fast_path(const struct datapath *datapath)
{
	return datapath->tables.control->fast_path & SL_FAST_PATH_FLOWS;
}

/* ---- interfaces -------------------------------------------------------------------------*/

int datapath_set_fast_device(struct datapath *datapath, int ifindex, int home)
{
	int fd = bpf_map__fd(datapath->skeleton->maps.fast_devices);
	__u32 key = ifindex, value = home;

	if (home)
		return bpf_map_update_elem(fd, &key, &value, BPF_ANY) ? -errno : 0;
	return bpf_map_delete_elem(fd, &key) && errno != ENOENT ? -errno : 0;
}

struct role_programs {
	int ingress, egress; /* fds; -1: none at that hook */
};

static struct role_programs role_programs(const struct datapath *datapath, enum attach_role role)
{
	const struct sluice_bpf *s = datapath->skeleton;

	switch (role) {
	case ATTACH_POD:
		return (struct role_programs){bpf_program__fd(s->progs.from_pod),
					      bpf_program__fd(s->progs.to_pod)};
	case ATTACH_UPLINK:
		return (struct role_programs){bpf_program__fd(s->progs.from_uplink),
					      bpf_program__fd(s->progs.to_uplink)};
	case ATTACH_FABRIC:
		return (struct role_programs){bpf_program__fd(s->progs.from_fabric), -1};
	case ATTACH_FABRIC_L3:
		return (struct role_programs){bpf_program__fd(s->progs.from_fabric_l3), -1};
	case ATTACH_NODE:
		return (struct role_programs){-1, bpf_program__fd(s->progs.from_node)};
	default:
		return (struct role_programs){-1, -1};
	}
}

int datapath_attach(struct datapath *datapath, int ifindex, const char *name, enum attach_role role)
{
	struct role_programs programs = role_programs(datapath, role);
	int code = 0;

	if (programs.egress >= 0) /* replies first: no flow begins that could not be answered */
		code = attach_hook(&datapath->attach, ifindex, name, true, programs.egress);
	if (!code && programs.ingress >= 0)
		code = attach_hook(&datapath->attach, ifindex, name, false, programs.ingress);
	return code;
}

int datapath_attach_xdp(struct datapath *datapath, int ifindex, const char *name, const char *kind,
			char why[XDP_WHY_LEN])
{
	const struct xdp_uplink uplink = {.ifindex = ifindex, .name = name, .kind = kind};

	return xdp_attach(&datapath->attach, datapath->tables.control->xdp, &uplink,
			  bpf_program__fd(datapath->skeleton->progs.uplink), why);
}

int datapath_detach(struct datapath *datapath, int ifindex, const char *name)
{
	int code = detach_xdp(&datapath->attach, name);

	code = code ?: detach_hook(&datapath->attach, ifindex, name, false);
	return code ?: detach_hook(&datapath->attach, ifindex, name, true);
}

int datapath_prune(struct datapath *datapath, attach_wanted_fn *wanted, void *context)
{
	return attach_prune(&datapath->attach, wanted, context);
}

/* ---- removal ------------------------------------------------------------------------------*/

#define PINS_MAX 64

struct removal {
	char paths[PINS_MAX][PATH_MAX];
	unsigned n_paths, n_links;
	struct others others;
};

static void removal_note(void *context, const struct pin *pin)
{
	struct removal *removal = context;

	removal->n_links += pin->kind == PIN_LINK;
	if (pin->kind == PIN_LINK || removal->n_paths == PINS_MAX)
		return;
	snprintf(removal->paths[removal->n_paths++], PATH_MAX, "%s", pin->path);
}

/* Programs at hooks first: they go whether or not there are pins. */
static int remove_all(const char *bpffs, struct removal *removal, unsigned *removed)
{
	char links_dir[PATH_MAX];
	struct attach attach = {.links_dir = links_dir};
	int code = pins_list(bpffs, removal_note, removal);

	snprintf(links_dir, sizeof(links_dir), "%s/links", bpffs);
	if (code == -ENOENT)
		code = 0;
	code = code ?: others_find(bpffs, &removal->others);
	code = code ?: detach_all(&attach, &removal->others, removed);
	for (unsigned i = 0; !code && i < removal->n_paths; i++)
		code = unlink(removal->paths[i]) ? -errno : 0;
	*removed += removal->n_links + removal->n_paths;
	return code ?: pin_dir_remove(bpffs);
}

int datapath_unload(const char *bpffs, unsigned *removed, char *error, size_t error_len)
{
	struct removal *removal;
	int code, lock_fd = pin_dir_lock(bpffs);

	*removed = 0;
	if (lock_fd == -EBUSY)
		return fail(error, error_len, lock_fd, "sluiced runs on %s: stop it first", bpffs);
	removal = calloc(1, sizeof(*removal));
	code = removal ? remove_all(bpffs, removal, removed) : -ENOMEM;
	if (lock_fd >= 0) /* until all is gone: an agent that starts meanwhile would lose its programs */
		close(lock_fd);
	if (!removal)
		return fail(error, error_len, code, "out of memory");
	others_done(&removal->others);
	free(removal);
	if (code == -EOWNERDEAD)
		return fail(error, error_len, code,
			    "programs of Sluice are at interfaces, pinned in a bpf file system that is "
			    "not seen here: repeat this where it is, or unmount what hides it");
	if (code)
		return fail(error, error_len, code, "cannot remove all of %s: %s%s", bpffs,
			    strerror(-code), pin_dir_hint(code));
	return 0;
}
