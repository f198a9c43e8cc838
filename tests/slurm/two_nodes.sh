#!/usr/bin/env bash
# A Slurm cluster of two nodes on this machine, for the tests beside it.
#
#   two_nodes.sh start | stop | node-dies N | node-returns N | cut N | mend N
#
# A node is a slurmd in its own namespaces: network (10.78.0.1N on a bridge), host name, /tmp,
# /dev/shm. So Open MPI takes them for two hosts and talks TCP between them. The controller runs
# outside. State is in $ORRERY_SLURM_DIR (default /srv/orrery-slurm; not in /tmp, which nodes do not
# share); `export SLURM_CONF=$ORRERY_SLURM_DIR/slurm.conf` to use it.
#
# needs: root, munge, slurm-wlm, slurm-wlm-basic-plugins, iproute2; exits with 77 where they are not
set -uo pipefail
home=${ORRERY_SLURM_DIR:-/srv/orrery-slurm}
export SLURM_CONF=$home/slurm.conf
export PATH=$PATH:/usr/sbin:/sbin

cannot() { echo "two_nodes.sh: Slurm cannot be started here: $1"; exit 77; }

write_configuration() {
  local host
  host=$(hostname)
  cat >"$SLURM_CONF" <<CONF
ClusterName=orrery
SlurmctldHost=$host(10.78.0.1)
SlurmctldPort=17817
SlurmUser=root
SlurmdUser=root
SlurmdParameters=config_overrides
AuthType=auth/munge
AuthInfo=socket=$home/munge.socket,cred_expire=10
CredType=cred/munge
StateSaveLocation=$home/state
SlurmdSpoolDir=$home/spool/%n
SlurmctldPidFile=$home/slurmctld.pid
SlurmdPidFile=$home/slurmd-%n.pid
SlurmctldLogFile=$home/log/slurmctld.log
SlurmdLogFile=$home/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=2,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=pmix
ReturnToService=2
JobRequeue=1
SlurmdTimeout=10
KillWait=5
MessageTimeout=10
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
NodeName=on1 NodeHostname=on1 NodeAddr=10.78.0.11 Port=17818 CPUs=8 RealMemory=4000 State=UNKNOWN
NodeName=on2 NodeHostname=on2 NodeAddr=10.78.0.12 Port=17818 CPUs=8 RealMemory=4000 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
  sed -i '/# orrery two_nodes/d' /etc/hosts
  printf '%s # orrery two_nodes\n' "10.78.0.1 $host" "10.78.0.11 on1" "10.78.0.12 on2" >>/etc/hosts
}

start_munge() {
  [ -s /etc/munge/munge.key ] || (umask 077; head -c 1024 /dev/urandom >/etc/munge/munge.key)
  chown munge: /etc/munge/munge.key "$home/munge"
  su -s /bin/sh munge -c "munged --socket=$home/munge.socket --pid-file=$home/munge/pid \
    --log-file=$home/munge/log --seed-file=$home/munge/seed --force" || cannot "munged does not start"
}

start_node() { # its number
  # nsenter and not `ip netns exec`, which mounts a fresh /sys and hides the control groups.
  nsenter --net="/run/netns/orrery$1" unshare --uts --mount --ipc --propagation private bash -c \
    "hostname on$1 && mount -t tmpfs tmpfs /tmp && mount -t tmpfs tmpfs /dev/shm && exec slurmd -N on$1" \
    || cannot "slurmd of node $1 does not start"
}

wait_until_idle() {
  for _ in $(seq 60); do
    [ "$(sinfo -h -o %T 2>/dev/null | sort -u)" = idle ] && return
    sleep 0.5
  done
  sinfo
  tail -n 5 "$home"/log/*.log
  return 1
}

start() {
  [ "$(id -u)" = 0 ] || cannot "not root"
  for program in slurmctld slurmd munged srun ip nsenter unshare; do
    command -v $program >/dev/null || cannot "no $program"
  done
  stop 2>/dev/null
  mkdir -p "$home"/{state,log,spool/on1,spool/on2,work,munge}
  chmod 755 "$home"
  chown munge: "$home"
  write_configuration
  start_munge
  ip link add orrery type bridge || cannot "no bridge"
  ip addr add 10.78.0.1/24 dev orrery && ip link set orrery up || cannot "no bridge"
  slurmctld || cannot "slurmctld does not start"
  for node in 1 2; do
    ip netns add orrery$node || cannot "no network namespaces"
    ip link add orrery-v$node type veth peer name eth0 netns orrery$node || cannot "no veth"
    ip link set orrery-v$node master orrery up
    ip -n orrery$node addr add 10.78.0.1$node/24 dev eth0
    ip -n orrery$node link set eth0 up
    ip -n orrery$node link set lo up
    start_node $node
  done
  wait_until_idle || cannot "its nodes do not become idle"
}

stop() {
  for node in 1 2; do node_dies $node; done
  for file in "$home/slurmctld.pid" "$home/munge/pid"; do
    local pid
    pid=$(cat "$file" 2>/dev/null) || continue
    kill -KILL "$pid" 2>/dev/null
  done
  for node in 1 2; do
    ip link del orrery-v$node 2>/dev/null
    ip netns del orrery$node 2>/dev/null
  done
  ip link del orrery 2>/dev/null
  sed -i '/# orrery two_nodes/d' /etc/hosts
  rm -rf "$home"/{state,spool,munge,munge.socket*}
  return 0
}

# Everything that runs in the node's network: slurmd, its step daemons, the ranks.
node_dies() {
  local pids
  pids=$(ip netns pids "orrery$1" 2>/dev/null) && [ -n "$pids" ] && kill -KILL $pids
  return 0
}

case ${1:-} in
  start) start ;;
  stop) stop ;;
  node-dies) node_dies "${2:?which node}" ;;
  node-returns) start_node "${2:?which node}" && wait_until_idle ;;
  cut) ip link set "orrery-v${2:?which node}" down ;;
  mend) ip link set "orrery-v${2:?which node}" up ;;
  *) sed -n '2,14s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
