"""Small networks of four PyTorch frameworks, exported by their own NIR exporters, with what they themselves answer."""

import warnings

warnings.filterwarnings("ignore")
import torch, numpy as np, nir, traceback

torch.manual_seed(0)
T, B = 60, 4


def save(name, x, y):
    np.savez(f"fw/{name}.npz", x=x, y=y)  # (T, B, ...)


x = (torch.rand(T, B, 12) < 0.35).float()
_w = nir.write


def _write(p, g):
    try:
        _w(p, g)
    except TypeError:
        _w(p, g, compression=None)


nir.write = _write


def attempt(f):
    try:
        f()
        print("ok ", f.__name__)
    except Exception as e:
        print("NO ", f.__name__, type(e).__name__, str(e)[:160])


# --- SpikingJelly
from spikingjelly.activation_based import neuron as sjn, layer as sjl, functional as sjf
from spikingjelly.activation_based.nir_exchange import export_to_nir


def sj(name, *layers, data=x):
    net = torch.nn.Sequential(*layers)
    sjf.set_step_mode(net, "m")
    sjf.reset_net(net)
    for p in net.parameters():
        p.data *= 8 if p.dim() > 1 else 1
    with torch.no_grad():
        y = net(data).numpy()
    sjf.reset_net(net)
    export_to_nir(net, data, f"fw/{name}.nir")
    save(name, data.numpy(), y)
    print("   ", name, "spikes", int((y != 0).sum()), "of", y.size)


def sj_lif_default():
    sj("sj_lif_default", sjl.Linear(12, 20), sjn.LIFNode(tau=2.0), sjl.Linear(20, 5), sjn.LIFNode(tau=2.0))


def sj_lif_tau20():
    sj(
        "sj_lif_tau20",
        sjl.Linear(12, 20),
        sjn.LIFNode(tau=20.0, decay_input=False),
        sjl.Linear(20, 5),
        sjn.LIFNode(tau=5.0, decay_input=False),
    )


def sj_if():
    sj("sj_if", sjl.Linear(12, 20), sjn.IFNode(), sjl.Linear(20, 5), sjn.IFNode())


def sj_plif():
    sj("sj_plif", sjl.Linear(12, 20), sjn.ParametricLIFNode(), sjl.Linear(20, 5), sjn.ParametricLIFNode())


def sj_cuba():
    sj(
        "sj_cuba",
        sjl.Linear(12, 20),
        sjn.CUBALIFNode(c_decay=0.5, v_decay=0.8),
        sjl.Linear(20, 5),
        sjn.CUBALIFNode(c_decay=0.4, v_decay=0.9),
    )


def sj_conv():
    sj(
        "sj_conv",
        sjl.Conv2d(1, 4, 3, padding=1),
        sjn.LIFNode(tau=2.0),
        sjl.AvgPool2d(2),
        sjl.Flatten(),
        sjl.Linear(64, 5),
        sjn.LIFNode(tau=2.0),
        data=(torch.rand(T, B, 1, 8, 8) < 0.35).float(),
    )


for f in (sj_lif_default, sj_lif_tau20, sj_if, sj_plif, sj_cuba, sj_conv):
    attempt(f)
# --- snnTorch
import snntorch as snn
from snntorch.export_nir import export_to_nir as snn_to_nir


def st(name, *layers, data=x, rec=False):
    net = torch.nn.Sequential(*layers)
    for p in net.parameters():
        if p.dim() > 1:
            p.data *= 3
    for m in net.modules():
        if hasattr(m, "reset_mem"):
            m.reset_mem()
    ys = []
    with torch.no_grad():
        for t in range(T):
            y = net(data[t])
            ys.append((y[0] if isinstance(y, tuple) else y).numpy())
    y = np.stack(ys)
    for m in net.modules():
        if hasattr(m, "reset_mem"):
            m.reset_mem()
    g = snn_to_nir(net, data[0, 0])
    nir.write(f"fw/{name}.nir", g)
    save(name, data.numpy(), y)
    print("   ", name, "spikes", int((y != 0).sum()), "of", y.size)


L = torch.nn.Linear
V = lambda b, n: dict(beta=torch.full((n,), b), threshold=torch.ones(n), init_hidden=True)


def st_leaky():
    st("st_leaky", L(12, 20), snn.Leaky(**V(0.9, 20)), L(20, 5), snn.Leaky(**V(0.8, 5)))


def st_leaky_zero():
    st(
        "st_leaky_zero",
        L(12, 20),
        snn.Leaky(**V(0.9, 20), reset_mechanism="zero"),
        L(20, 5),
        snn.Leaky(**V(0.8, 5), reset_mechanism="zero"),
    )


def st_synaptic():
    st(
        "st_synaptic",
        L(12, 20),
        snn.Synaptic(alpha=torch.full((20,), 0.6), **V(0.9, 20)),
        L(20, 5),
        snn.Synaptic(alpha=torch.full((5,), 0.5), **V(0.8, 5)),
    )


def st_rleaky():
    st(
        "st_rleaky",
        L(12, 20),
        snn.RLeaky(beta=0.9, linear_features=20, init_hidden=True),
        L(20, 5),
        snn.Leaky(**V(0.8, 5)),
    )


def st_lapicque():
    st(
        "st_lapicque",
        L(12, 20),
        snn.Lapicque(beta=0.9, init_hidden=True),
        L(20, 5),
        snn.Leaky(beta=0.8, init_hidden=True),
    )


def st_beta_vector():
    st(
        "st_beta_vector",
        L(12, 20),
        snn.Leaky(beta=torch.linspace(0.5, 0.95, 20), threshold=torch.ones(20), init_hidden=True),
        L(20, 5),
        snn.Leaky(**V(0.8, 5)),
    )


for f in (st_leaky, st_leaky_zero, st_synaptic, st_rleaky, st_lapicque, st_beta_vector):
    attempt(f)
# --- Norse
import norse.torch as nt


def no(name, *layers, data=x):
    net = nt.SequentialState(*layers)
    for p in net.parameters():
        if p.dim() > 1:
            p.data *= 60
    s = None
    ys = []
    with torch.no_grad():
        for t in range(T):
            y, s = net(data[t], s)
            ys.append(y.numpy())
    y = np.stack(ys)
    g = nt.to_nir(net, data[0, 0])
    nir.write(f"fw/{name}.nir", g)
    save(name, data.numpy(), y)
    print(
        "   ",
        name,
        "spikes",
        int((y != 0).sum()),
        "of",
        y.size,
        {k: (n.tau, n.r) for k, n in g.nodes.items() if hasattr(n, "tau")},
    )


def no_lifbox():
    no("no_lifbox", L(12, 20), nt.LIFBoxCell(), L(20, 5), nt.LIFBoxCell())


def no_lif():
    no("no_lif", L(12, 20), nt.LIFCell(), L(20, 5), nt.LIFCell())


def no_iaf():
    no("no_iaf", L(12, 20), nt.IAFCell(), L(20, 5), nt.IAFCell())


def no_li():
    no("no_li", L(12, 20), nt.LIFBoxCell(), L(20, 5), nt.LIBoxCell())


for f in (no_lifbox, no_lif, no_iaf, no_li):
    attempt(f)
# --- Sinabs
import sinabs.layers as sl, sinabs.nir as sn, sinabs.activation as sa


def si(name, *layers, data=x):
    net = torch.nn.Sequential(*layers)
    for p in net.parameters():
        if p.dim() > 1:
            p.data *= 6
    d = data.transpose(0, 1).reshape(B * T, *data.shape[2:])
    with torch.no_grad():
        y = net(d).numpy()
    y = y.reshape(B, T, *y.shape[1:]).swapaxes(0, 1)
    for m in net.modules():
        if hasattr(m, "reset_states"):
            m.reset_states()
    g = sn.to_nir(net, d)
    nir.write(f"fw/{name}.nir", g)
    save(name, data.numpy(), y)
    print("   ", name, "spikes", int((y != 0).sum()), "max", y.max(), "of", y.size)


k = dict(batch_size=B)


def si_iaf():
    si("si_iaf", L(12, 20, bias=False), sl.IAFSqueeze(**k), L(20, 5, bias=False), sl.IAFSqueeze(**k))


def si_iaf_single():
    si(
        "si_iaf_single",
        L(12, 20),
        sl.IAFSqueeze(spike_fn=sa.SingleSpike, **k),
        L(20, 5),
        sl.IAFSqueeze(spike_fn=sa.SingleSpike, **k),
    )


def si_lif():
    si(
        "si_lif",
        L(12, 20),
        sl.LIFSqueeze(tau_mem=20.0, spike_fn=sa.SingleSpike, **k),
        L(20, 5),
        sl.LIFSqueeze(tau_mem=10.0, spike_fn=sa.SingleSpike, **k),
    )


def si_lif_nonorm():
    si(
        "si_lif_nonorm",
        L(12, 20),
        sl.LIFSqueeze(tau_mem=20.0, norm_input=False, spike_fn=sa.SingleSpike, **k),
        L(20, 5),
        sl.LIFSqueeze(tau_mem=10.0, norm_input=False, spike_fn=sa.SingleSpike, **k),
    )


def si_expleak():
    si(
        "si_expleak",
        L(12, 20),
        sl.LIFSqueeze(tau_mem=20.0, spike_fn=sa.SingleSpike, **k),
        L(20, 5),
        sl.ExpLeakSqueeze(tau_mem=10.0, **k),
    )


def si_conv():
    si(
        "si_conv",
        torch.nn.Conv2d(1, 4, 3, padding=1),
        sl.IAFSqueeze(spike_fn=sa.SingleSpike, **k),
        sl.SumPool2d(2),
        torch.nn.Flatten(),
        L(64, 5),
        sl.IAFSqueeze(spike_fn=sa.SingleSpike, **k),
        data=(torch.rand(T, B, 1, 8, 8) < 0.35).float(),
    )


for f in (si_iaf, si_iaf_single, si_lif, si_lif_nonorm, si_expleak, si_conv):
    attempt(f)
