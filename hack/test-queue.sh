# Part of hack/test, which sources it: runs jobs in parallel, prints the output of each when it has finished, and counts
# tests. A job is a command that usually creates a box of its own.
# shellcheck shell=bash disable=SC2154 # variables of hack/test

passed=0 failed=0 skipped=0
queue=()                   # names of the jobs that have not started
declare -A job_command=()  # by name: its words, quoted for eval
declare -A job_stage=()    # by name: the stage it belongs to
declare -A job_start=()    # by name: the value of SECONDS when it started
declare -A job_of=()       # by pid: the name of a running job
ticker=                    # pid of the sleep until the next progress line

note() { printf '\n==> [%4d s] %s\n' $SECONDS "$*"; }

# ---- results ----

# count NAME STATUS SECONDS <OUTPUT: adds the results that Rust's test runner and ginkgo print. A failed command without
# such a line counts as one failure. Specs that critest excludes on this machine are not counted.
count() {
	local p f s
	read -r p f s < <(awk '
		/^test result: / { p += $4; f += $6; s += $8 }
		/^(SUCCESS|FAIL)! -- / { p += $3; f += $6 }
		END { print p + 0, f + 0, s + 0 }')
	(($2 == 0 || f > 0)) || f=1
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
	printf '    %s: %s in %d s\n' "$1" "$( (($2)) && echo FAILED || echo ok)" "$3"
	(($2)) || remember "$1" "$3"
}

# check NAME CMD...: runs CMD in the foreground, with its output as it comes, and counts its results.
check() {
	local name=$1 status=0 start=$SECONDS
	shift
	note "$name"
	"$@" </dev/null 2>&1 | tee "$work/output" || status=$?
	count "$name" $status $((SECONDS - start)) <"$work/output"
}

# ---- durations of earlier runs ----

times=$CACHE/test-times # stage, name and seconds of each successful check or job; the last line of a name counts

remember() { # remember NAME SECONDS
	printf '%s\t%s\t%d\n' "$stage" "$1" "$2" >>"$times"
}
last_times() { # prints the last line of each stage and name
	awk -F'\t' '{ last[$1 FS $2] = $3 } END { for (key in last) print key FS last[key] }' "$times"
}
last_time() { # last_time NAME: prints the seconds of its last successful run, or nothing
	last_times | awk -F'\t' -v name="$1" '$2 == name { print $3 }'
}
# More than enough for all names, and never a long file.
trim_times() {
	local last
	last=$(last_times)
	printf '%s\n' "$last" >"$times"
}

# ---- jobs ----

later() { # later NAME CMD...: adds a job to the queue
	queue+=("$1")
	job_command[$1]=$(printf '%q ' timeout -k 10 "$job_limit" "${@:2}")
	job_stage[$1]=$stage
}

# The longest job first, so that no long one is left for the end. New jobs precede: their time is unknown.
longest_first() {
	local name
	for name in "${queue[@]}"; do
		printf '%d\t%s\n' "$(last_time "$name" | grep . || echo 99999)" "$name"
	done | sort -s -k1,1nr | cut -f2
}

run_queue() {
	local pid status
	((${#queue[@]})) || return 0
	note "${#queue[@]} jobs, $jobs in parallel"
	mapfile -t queue < <(longest_first)
	tick
	while ((${#queue[@]} + ${#job_of[@]})); do
		while ((${#queue[@]} && ${#job_of[@]} < jobs)); do
			start_job "${queue[0]}"
			queue=("${queue[@]:1}")
		done
		status=0
		wait -n -p pid "$ticker" "${!job_of[@]}" 2>/dev/null || status=$?
		[[ ${pid-} ]] || pid=$(killed_job)
		if [[ $pid == "$ticker" ]]; then
			progress
			tick
		else
			finish_job "$pid" $status
		fi
	done
	kill "$ticker" 2>/dev/null || true
}
killed_job() { # bash drops a child that a signal killed, and then wait -n does not return its pid
	local pid
	for pid in "${!job_of[@]}" "$ticker"; do
		kill -0 "$pid" 2>/dev/null || break
	done
	echo "$pid"
}
tick() {
	sleep 60 &
	ticker=$!
}
progress() { # a line per minute shows which job hangs
	local name line=
	for name in "${job_of[@]}"; do
		line+="; $name ($((SECONDS - job_start[$name])) s)"
	done
	printf '    [%4d s] waiting: %d, running: %s\n' $SECONDS ${#queue[@]} "${line#; }"
}
start_job() { # start_job NAME
	printf '    [%4d s] start: %s\n' $SECONDS "$1"
	job_start[$1]=$SECONDS
	eval "exec ${job_command[$1]}" </dev/null >"$work/${1//\//-}.output" 2>&1 &
	job_of[$!]=$1
}
finish_job() { # finish_job PID STATUS
	local name=${job_of[$1]} output stage
	stage=${job_stage[$name]}
	output=$work/${name//\//-}.output
	unset "job_of[$1]"
	note "$name"
	cat "$output"
	count "$name" "$2" $((SECONDS - job_start[$name])) <"$output"
	rm "$output"
}
end_jobs() { # stops running jobs, and with them their boxes
	kill "${!job_of[@]}" "${ticker-}" 2>/dev/null || true
	wait "${!job_of[@]}" 2>/dev/null || true
}
