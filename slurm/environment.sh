# What a job needs before it starts: sourced by the batch scripts, on the first node of the job.
# Sets `orrery`, the command that every rank runs. Lines to adapt are marked CHANGE.

# -- Where the program comes from: modules, or a container. ------------------------------------------
# module load gcc/12 openmpi/4.1 hdf5/1.10       # CHANGE: what the program was built with
orrery=("${ORRERY_PROGRAM:-build/release/orrery}")
# orrery=(apptainer exec --nv orrery.sif orrery) # CHANGE: or the program inside an image. The MPI in
#                                                # the image must be the major version of the host's.

# -- One thread for each rank unless the configuration says experiment.threads_per_rank. ------------
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

# -- MPI. Open MPI finds the fast network by itself where UCX is installed. ---------------------------
# export OMPI_MCA_pml=ucx                        # insist on UCX: fail instead of falling back to TCP
# export UCX_NET_DEVICES=mlx5_0:1                # CHANGE: the InfiniBand port, where there are several
# export UCX_TLS=rc,sm,self                      # reliable connections, shared memory within a node
# export OMPI_MCA_btl_tcp_if_include=eth0        # CHANGE: without UCX: the interface that all nodes share
# export PMIX_MCA_gds=hash                       # if srun stops with errors of PMIx's shared memory

# -- NCCL (GPUs). --------------------------------------------------------------------------------------
export NCCL_DEBUG=${NCCL_DEBUG:-WARN}            # INFO prints which links it uses: do so once
# export NCCL_SOCKET_IFNAME=eth0                 # CHANGE: the interface for its first contact
# export NCCL_IB_HCA=mlx5                        # CHANGE: the InfiniBand adapters for the data
export NCCL_LAUNCH_ORDER_IMPLICIT=1              # kernels of several groups start in one order

# -- UCX must not take over the memory hooks of CUDA programs that never hand CUDA memory to MPI. ------
export UCX_MEMTYPE_CACHE=n
